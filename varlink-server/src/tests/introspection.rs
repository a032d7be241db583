//! What the service says about itself, and what it says to calls that it does not know.

use super::*;
use crate::idl::Idl;

async fn exchange(calls: &[(&str, &str)]) {
    let mut client = Bench::new(settings()).client();
    for (call, reply) in calls {
        assert_eq!(client.call(call).await, *reply, "{call}");
    }
}

#[test]
fn get_info_lists_the_interfaces_in_order() {
    let expected = r#"{"parameters":{"vendor":"tests","product":"probe","version":"1.2","url":"","#
        .to_owned()
        + r#""interfaces":["io.systemd","io.systemd.service","org.varlink.service","test.Probe"]}}"#;
    for parameters in ["", r#","parameters":null"#, r#","parameters":{}"#, r#","more":true"#] {
        let call = format!(r#"{{"method":"org.varlink.service.GetInfo"{parameters}}}"#);
        run(exchange(&[(&call, &expected)]));
    }
}

#[test]
fn every_interface_is_described_by_the_text_it_is_checked_against() {
    run(async {
        let mut client = Bench::new(settings()).client();
        let texts = [
            ("test.Probe", PROBE),
            ("io.systemd", include_str!("../idl/io.systemd.varlink")),
            ("io.systemd.service", include_str!("../idl/io.systemd.service.varlink")),
            ("org.varlink.service", include_str!("../idl/org.varlink.service.varlink")),
        ];
        for (name, text) in texts {
            let method = "org.varlink.service.GetInterfaceDescription";
            let call = json!({"method": method, "parameters": {"interface": name}});
            let reply = client.call(&call.to_string()).await;
            assert_eq!(reply, json!({"parameters": {"description": text}}).to_string());
        }
    });
}

#[test]
fn what_is_not_known_is_named_in_the_error() {
    let describe =
        r#"{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"x.y"}}"#;
    let nameless = r#"{"method":"org.varlink.service.GetInterfaceDescription"}"#;
    run(exchange(&[
        (describe, r#"{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"x.y"}}"#),
        (
            nameless,
            r#"{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"interface"}}"#,
        ),
        (
            r#"{"method":"org.varlink.service.GetInfo","parameters":{"x":1}}"#,
            r#"{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"x"}}"#,
        ),
    ]));
    for method in ["", "nodot", "a.b.C", "test.Probe.", "test.Probe.echo", "io.systemd.service.Reload"] {
        let call = json!({"method": method}).to_string();
        let reply = json!({"error": "org.varlink.service.MethodNotFound", "parameters": {"method": method}});
        run(exchange(&[(&call, &reply.to_string())]));
    }
}

#[test]
fn parameters_are_checked_before_the_handler_runs() {
    let bad = r#"{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"text"}}"#;
    let unknown = r#"{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"bogus"}}"#;
    run(exchange(&[
        (r#"{"method":"test.Probe.Echo"}"#, bad),
        (r#"{"method":"test.Probe.Echo","parameters":{"text":1,"bogus":1}}"#, bad),
        (r#"{"method":"test.Probe.Echo","parameters":{"bogus":1,"text":"x"}}"#, unknown),
        (
            r#"{"method":"test.Probe.Tick","parameters":{"bogus":1}}"#,
            r#"{"error":"org.varlink.service.ExpectedMore"}"#,
        ),
        (r#"{"method":"test.Probe.Fail"}"#, r#"{"error":"test.Probe.Failed"}"#),
    ]));
}

#[test]
fn the_log_level_is_set_and_read_back() {
    let bad = r#"{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"level"}}"#;
    run(exchange(&[
        (r#"{"method":"io.systemd.service.Ping"}"#, "{}"),
        (r#"{"method":"io.systemd.service.SetLogLevel","parameters":{"level":7}}"#, "{}"),
        (r#"{"method":"io.systemd.service.GetLogLevel"}"#, r#"{"parameters":{"level":7}}"#),
        (r#"{"method":"io.systemd.service.SetLogLevel","parameters":{"level":8}}"#, bad),
        (r#"{"method":"io.systemd.service.SetLogLevel","parameters":{"level":-1}}"#, bad),
        (r#"{"method":"io.systemd.service.SetLogLevel"}"#, bad),
        (r#"{"method":"io.systemd.service.SetLogLevel","parameters":{"level":null}}"#, bad),
        (r#"{"method":"io.systemd.service.SetLogLevel","parameters":{"level":"6"},"upgrade":true}"#, "{}"),
    ]));
}

#[test]
fn the_environment_is_told_to_the_privileged() {
    run(async {
        let mut client = Bench::new(settings()).client();
        let reply = client.call(r#"{"method":"io.systemd.service.GetEnvironment"}"#).await;
        let reply: Value = serde_json::from_str(&reply).unwrap();
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        assert!(reply["parameters"]["environment"].as_array().unwrap().contains(&Value::from(path)));
    });
}

#[test]
fn a_table_and_its_description_must_fit() {
    let fit = |description, methods| {
        let tables = vec![Interface { description, methods }];
        Server::<Probe>::new(Rc::default(), ABOUT, tables, settings()).map(drop)
    };
    assert!(fit(PROBE, METHODS).is_ok());
    assert!(matches!(fit("nonsense", METHODS), Err(TableError::Idl(_))));
    assert!(matches!(fit(PROBE, &METHODS[..3]), Err(TableError::Unpaired { method: "Fail", .. })));
    assert!(matches!(fit("interface test.Probe", METHODS), Err(TableError::Unpaired { method: "Echo", .. })));
    const RULE: &[Method<Probe>] = &[Method {
        name: "Ping",
        more: More::No,
        rules: &[("x", Rule::NotNull)],
        descriptors: Descriptors::None,
        handler: METHODS[0].handler,
    }];
    let ping = fit("interface a.b\nmethod Ping(y: ?int) -> ()", RULE);
    assert!(matches!(ping, Err(TableError::NoField { method: "Ping", field: "x" })));
    assert!(matches!(fit("interface io.systemd", &[]), Err(TableError::Twice("io.systemd"))));
}

#[test]
fn the_description_of_the_machine_interface_is_in_the_grammar() {
    let idl =
        Idl::parse(include_str!("../../../machined/src/varlink/idl/io.systemd.Machine.varlink")).unwrap();
    let methods: Vec<_> = idl.methods.iter().map(|method| method.name).collect();
    assert!(methods.starts_with(&["Register", "Unregister", "Terminate", "Kill", "List"]), "{methods:?}");
    assert!(idl.errors.len() >= 7, "{:?}", idl.errors);
}
