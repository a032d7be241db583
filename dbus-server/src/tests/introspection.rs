use super::*;

const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";

async fn introspect(bench: &Bench, path: &str) -> String {
    let reply = bench.reply(call(path, INTROSPECTABLE, "Introspect"), &()).await.unwrap();
    assert_eq!(reply.message_type(), Type::MethodReturn, "{path}");
    reply.body().deserialize().unwrap()
}

/// What comes after the standard interfaces.
fn own(xml: &str) -> &str {
    let (_, own) = xml.split_once("PropertiesChanged").unwrap();
    own.split_once("</interface>\n").unwrap().1
}

#[test]
fn an_object_is_described_as_its_table_says() {
    run(async |bench: Bench| {
        let xml = introspect(&bench, "/test/Control").await;
        assert!(xml.starts_with("<!DOCTYPE node PUBLIC "));
        assert_eq!(
            own(&xml),
            r#" <interface name="test.Control">
  <property name="Level" type="s" access="readwrite">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
   <annotation name="org.freedesktop.systemd1.Privileged" value="true"/>
  </property>
  <property name="Name" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
 </interface>
</node>
"#
        );
        let xml = introspect(&bench, ROOT).await;
        for expected in [
            "  <method name=\"Nothing\">\n  </method>\n",
            "  <method name=\"Echo\">\n   <arg type=\"s\" name=\"text\" direction=\"in\"/>\n\
             \x20  <arg type=\"u\" name=\"number\" direction=\"in\"/>\n\
             \x20  <arg type=\"s\" name=\"text\" direction=\"out\"/>\n  </method>\n",
            "   <arg type=\"s\" name=\"x\" direction=\"in\"/>\n\
             \x20  <annotation name=\"org.freedesktop.systemd1.Privileged\" value=\"true\"/>\n  </method>\n",
            "  <signal name=\"Happened\">\n   <arg type=\"s\" name=\"what\"/>\n   <arg type=\"o\" name=\"path\"/>\n\
             \x20 </signal>\n </interface>\n",
        ] {
            assert!(xml.contains(expected), "{xml}\n{expected}");
        }
        assert!(!xml.contains("Hidden"));
    });
}

#[test]
fn nodes_name_what_is_right_below_them() {
    run(async |bench: Bench| {
        for (path, nodes) in [
            ("/", "<node name=\"test\"/>"),
            (ROOT, "<node name=\"Control\"/>\n <node name=\"thing\"/>"),
            ("/test/thing", "<node name=\"_31\"/>\n <node name=\"a_2db\"/>"),
        ] {
            let xml = introspect(&bench, path).await;
            assert!(xml.ends_with(&format!("\n {nodes}\n</node>\n")), "{xml}");
        }
        let xml = introspect(&bench, THING).await;
        assert!(
            own(&xml).starts_with(" <interface name=\"test.Thing\">") && !own(&xml).contains("<node"),
            "{xml}"
        );
    });
}

#[test]
fn what_is_not_there_is_not_described() {
    run(async |bench: Bench| {
        let ask = async |path| bench.ask(call(path, INTROSPECTABLE, "Introspect"), &()).await;
        assert_eq!(ask("/test/thing/zz").await, "UnknownObject: Unknown object '/test/thing/zz'.");
        assert_eq!(ask("/tes").await, "UnknownObject: Unknown object '/tes'.");
        let with_arguments = call(ROOT, INTROSPECTABLE, "Introspect");
        assert_eq!(bench.ask(with_arguments, &"x").await, "InvalidArgs: Expected no parameters");
    });
}
