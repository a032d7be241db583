//! What a call gets.

use crate::call::{Call, Reply};
use crate::error_reply::ErrorReply;
use crate::introspection::describe;
use crate::properties;
use crate::server::Server;
use crate::signature;
use crate::standard::{INTROSPECTABLE, PEER, PROPERTIES};
use crate::table::{Interface, Method, Object, Place};
use crate::tree::Node;

/// Where a call says that it goes.
struct Head {
    path: String,
    /// A call need not name one, D-Bus Specification, "Message Types"; then the first that has the member is meant.
    interface: Option<String>,
    member: String,
}

impl Head {
    fn of(call: &Call) -> Option<Self> {
        let header = call.message().header();
        Some(Self {
            path: header.path()?.as_str().to_owned(),
            interface: header.interface().map(|name| name.as_str().to_owned()),
            member: header.member()?.as_str().to_owned(),
        })
    }

    fn is(&self, interface: &str, member: &str) -> bool {
        self.member == member && self.interface.as_deref().is_none_or(|named| named == interface)
    }

    fn unknown_method(&self) -> ErrorReply {
        ErrorReply::unknown_method(&self.member, self.interface.as_deref().unwrap_or_default())
    }
}

impl<C: 'static, O: Clone + 'static> Server<C, O> {
    /// Answers a call, unless it wants no answer.
    pub(crate) async fn answer(&self, call: Call) {
        match self.dispatch(&call).await {
            Ok(Reply(message)) if call.wants_reply() => self.bus.send(message),
            Ok(_) => {}
            Err(error) => self.refuse(&call, &error),
        }
    }

    async fn dispatch(&self, call: &Call) -> Result<Reply, ErrorReply> {
        let head =
            Head::of(call).ok_or_else(|| ErrorReply::failed("The call names no method of an object."))?;
        if head.interface.as_deref() == Some(PEER) || head.is(PEER, "Ping") || head.is(PEER, "GetMachineId") {
            return peer(&head, call);
        }
        match self.find(&head.path, call).await {
            Node::Object(object, subject) => self.on_object(&head, object, subject, call).await,
            Node::Parent | Node::Ancestor if head.is(INTROSPECTABLE, "Introspect") => {
                self.introspect(&head, &[], call).await
            }
            Node::Parent if head.is(PROPERTIES, "GetAll") => {
                properties::get_all::<C, O>(&self.context, None, &[], call)
            }
            Node::Parent => Err(head.unknown_method()),
            Node::Ancestor | Node::Nothing => Err(ErrorReply::unknown_object(&head.path)),
        }
    }

    async fn on_object(
        &self,
        head: &Head,
        object: &'static Object<C, O>,
        subject: O,
        call: &Call,
    ) -> Result<Reply, ErrorReply> {
        let interfaces = object.interfaces;
        let own = interfaces
            .iter()
            .flat_map(|interface| interface.methods.iter().map(move |method| (interface.name, method)));
        let mut called = own.filter(|(interface, method)| head.is(interface, method.name));
        if let Some((interface, method)) = called.next() {
            return self.run(interface, method, subject, call).await;
        }
        if head.is(INTROSPECTABLE, "Introspect") {
            return self.introspect(head, interfaces, call).await;
        }
        if head.is(PROPERTIES, "Get") {
            let subject = self.looked_at(object, subject, call).await?;
            return properties::get(&*self.context, &subject, interfaces, call);
        }
        if head.is(PROPERTIES, "GetAll") {
            let subject = self.looked_at(object, subject, call).await?;
            return properties::get_all(&*self.context, Some(&subject), interfaces, call);
        }
        if head.is(PROPERTIES, "Set") {
            return properties::set(&*self.context, &subject, interfaces, call).await;
        }
        Err(head.unknown_method())
    }

    async fn run(
        &self,
        interface: &str,
        method: &Method<C, O>,
        subject: O,
        call: &Call,
    ) -> Result<Reply, ErrorReply> {
        if method.privileged && !call.credentials().await?.is_privileged() {
            return Err(ErrorReply::access_denied(interface, method.name));
        }
        let got = signature::text(call.message().body().signature());
        let expected = signature::joined(method.input);
        if got != expected {
            let name = method.name;
            return Err(ErrorReply::invalid_args(format!(
                "Invalid arguments '{got}' to call {interface}.{name}(), expecting '{expected}'."
            )));
        }
        let reply = (method.handler)(self.context.clone(), subject, call.clone()).await?;
        // Introspection promised it.
        let got = signature::text(reply.0.body().signature());
        let promised = signature::joined(method.output);
        if got != promised {
            tracing::error!("{interface}.{}() returned '{got}' in the place of '{promised}'", method.name);
            return Err(ErrorReply::failed("The reply is not what it has to be."));
        }
        Ok(reply)
    }

    /// What is known of an object now.
    async fn looked_at(&self, object: &Object<C, O>, subject: O, call: &Call) -> Result<O, ErrorReply> {
        match object.place {
            Place::Fresh { look, .. } => look(self.context.clone(), subject, call.clone()).await,
            _ => Ok(subject),
        }
    }

    async fn introspect(
        &self,
        head: &Head,
        interfaces: &[Interface<C, O>],
        call: &Call,
    ) -> Result<Reply, ErrorReply> {
        if !call.message().body().is_empty() {
            return Err(ErrorReply::invalid_args("Expected no parameters"));
        }
        call.reply(&describe(interfaces, self.children(&head.path, call).await))
    }
}

/// `org.freedesktop.DBus.Peer`, which is at every path, whatever the arguments.
fn peer(head: &Head, call: &Call) -> Result<Reply, ErrorReply> {
    match head.member.as_str() {
        "Ping" => call.reply(&()),
        "GetMachineId" => {
            let id = std::fs::read_to_string("/etc/machine-id").map_err(|error| {
                ErrorReply::new("org.freedesktop.DBus.Error.FileNotFound", error.to_string())
            })?;
            call.reply(&id.trim())
        }
        other => {
            let message = format!("Unknown method '{other}' on interface '{PEER}'.");
            Err(ErrorReply::new("org.freedesktop.DBus.Error.UnknownMethod", message))
        }
    }
}
