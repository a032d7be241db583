//! `io.systemd.Resolve.Hook`, a table over [`answer`](crate::answer).

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch::Sender;
use tokio::time::sleep;
use varlink_server::{About, Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier};

use crate::answer::{Answer, answer, base64};
use crate::host::Host;
use crate::question::Question;

/// What `org.varlink.service.GetInfo` says about this service.
pub const ABOUT: About = About {
    vendor: "mymachines",
    product: "mymachines resolve-machined",
    version: env!("CARGO_PKG_VERSION"),
    url: "",
};

/// For how long changes of the list are gathered after it was told: each time it is told as a whole.
const GATHER: Duration = Duration::from_millis(100);
/// How many questions a call may have. systemd-resolved has two at the most.
const QUESTIONS_MAX: usize = 64;

/// The names that there are.
#[derive(Debug)]
pub struct Hook {
    /// All that systemd-resolved is to ask for.
    pub list: Sender<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    filter_domains: &'a [String],
}

#[derive(Debug, Serialize)]
struct Reply {
    rcode: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answer: Vec<RecordReply>,
}

#[derive(Debug, Serialize)]
struct RecordReply {
    raw: String,
}

/// The interface.
pub fn interface() -> Interface<Hook> {
    Interface {
        description: include_str!("idl/io.systemd.Resolve.Hook.varlink"),
        methods: const {
            &[
                Method {
                    name: "QueryFilter",
                    more: More::Supported,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |hook, call, replier| Box::pin(query_filter(hook, call, replier)),
                },
                Method {
                    name: "ResolveRecord",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |_, call, replier| Box::pin(async move { resolve(&call, replier) }),
                },
            ]
        },
    }
}

/// Tells which names to ask for, and again whenever they are others.
async fn query_filter(hook: Rc<Hook>, call: Call, mut replier: Replier) -> Result<Done, ErrorReply> {
    let mut list = hook.list.subscribe();
    if !call.more {
        let now = list.borrow().clone();
        return replier.reply(&Filter { filter_domains: &now });
    }
    loop {
        let now = list.borrow_and_update().clone();
        replier.send(&Filter { filter_domains: &now }).await?;
        sleep(GATHER).await;
        // The sender is kept by the hook.
        if list.changed().await.is_err() {
            return replier.reply(&Filter { filter_domains: &now });
        }
    }
}

fn resolve(call: &Call, replier: Replier) -> Result<Done, ErrorReply> {
    let asked = call.parameters.get("question").and_then(Value::as_array);
    let asked = asked.filter(|asked| (1..=QUESTIONS_MAX).contains(&asked.len()));
    let asked = asked.ok_or_else(|| ErrorReply::invalid_parameter("question"))?;
    let questions: Vec<_> = asked.iter().filter_map(question).collect();
    match answer(&Host, &questions) {
        Some(Answer { code, records }) => {
            let answer = records.iter().map(|record| RecordReply { raw: base64(record) }).collect();
            replier.reply(&Reply { rcode: code, answer })
        }
        None => replier.reply(&()),
    }
}

/// `None`: a question that no machine is the answer to.
fn question(asked: &Value) -> Option<Question> {
    let key = asked.get("key")?;
    let class = key.get("class").and_then(Value::as_i64);
    Question::new(class, key.get("type")?.as_i64()?, key.get("name")?.as_str()?)
}
