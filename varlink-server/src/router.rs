//! Which handler a call goes to, and what is answered when there is none.

use std::fmt;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::descriptors::Descriptors;
use super::error_reply::ErrorReply;
use super::idl::{Idl, IdlError};
use super::message::Object;
use super::peer::Peer;
use super::reply::{Done, Replier};
use super::validate::{BadParameter, Rule, check};

/// An interface, as data. Its name, its types and the parameters of its methods are in its description.
pub struct Interface<C: 'static> {
    /// The text of the interface description.
    pub description: &'static str,
    /// One row per method of the description.
    pub methods: &'static [Method<C>],
}

/// One row of an interface's table.
pub struct Method<C: 'static> {
    /// The name without the interface, as in the description.
    pub name: &'static str,
    /// Whether it streams.
    pub more: More,
    /// What is asked of single fields beyond the description.
    pub rules: &'static [(&'static str, Rule)],
    /// Which way descriptors go with it.
    pub descriptors: Descriptors,
    /// What runs.
    pub handler: Handler<C>,
}

/// Whether a method answers with a stream of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Never; the flag of the call is ignored.
    No,
    /// When the call asks for it.
    Supported,
    /// A call that does not ask for it is refused.
    Required,
}

/// A method: `|daemon, call, replier| Box::pin(list(daemon, call, replier))`.
pub type Handler<C> = fn(Rc<C>, Call, Replier) -> Answer;

/// What a handler comes to. It is dropped, wherever it waits, when the peer hangs up.
pub type Answer = Pin<Box<dyn Future<Output = Result<Done, ErrorReply>>>>;

/// A call that the description allows.
#[derive(Debug)]
pub struct Call {
    /// Who calls.
    pub peer: Rc<Peer>,
    /// Checked, without nulls, and every integer a JSON integer.
    pub parameters: Map<String, Value>,
    /// The peer takes a stream of replies.
    pub more: bool,
    /// The peer wants no reply.
    pub oneway: bool,
    /// What came along, if the method receives descriptors.
    pub descriptors: Vec<OwnedFd>,
}

/// What `GetInfo` says about the service.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct About {
    /// Who makes it.
    pub vendor: &'static str,
    /// What it is.
    pub product: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Where to read more; may be empty.
    pub url: &'static str,
}

/// The reply of `GetInfo`.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    #[serde(flatten)]
    about: About,
    interfaces: Vec<&'static str>,
}

/// What to do with a call.
pub(super) enum Decision<'r, C: 'static> {
    Run(&'r Method<C>, Map<String, Value>),
    Info(&'r Info),
    Description(&'static str),
    Refuse(ErrorReply),
}

/// The tables of a service and their descriptions do not fit together.
#[derive(Debug)]
#[non_exhaustive]
pub enum TableError {
    /// A description is not in the grammar.
    Idl(IdlError),
    /// A method is in the table or in the description of an interface, but not in both.
    Unpaired {
        /// The interface.
        interface: &'static str,
        /// The method.
        method: &'static str,
    },
    /// A rule is about a field that its method does not have.
    NoField {
        /// The method.
        method: &'static str,
        /// The field.
        field: &'static str,
    },
    /// An interface is there twice.
    Twice(&'static str),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idl(error) => error.fmt(f),
            Self::Unpaired { interface, method } => {
                write!(f, "method {interface}.{method} needs both a description and a handler")
            }
            Self::NoField { method, field } => write!(f, "method {method} has no field {field}"),
            Self::Twice(interface) => write!(f, "interface {interface} may be served only once"),
        }
    }
}

impl std::error::Error for TableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Idl(error) => Some(error),
            _ => None,
        }
    }
}

/// The interfaces of one service, ready for calls.
pub(super) struct Router<C: 'static> {
    info: Info,
    served: Vec<(Idl, Interface<C>)>,
    /// `org.varlink.service`, which is about the others.
    service: Idl,
}

impl<C: 'static> Router<C> {
    /// Parses the descriptions and pairs them with the tables.
    pub fn new(about: About, interfaces: Vec<Interface<C>>) -> Result<Self, TableError> {
        let service = Idl::parse(SERVICE).map_err(TableError::Idl)?;
        let errors = Interface { description: SYSTEM, methods: &[] };
        let mut served = Vec::new();
        let mut names = vec![service.name];
        for interface in interfaces.into_iter().chain([errors]) {
            let idl = Idl::parse(interface.description).map_err(TableError::Idl)?;
            if names.contains(&idl.name) {
                return Err(TableError::Twice(idl.name));
            }
            let described = idl.methods.iter().map(|method| method.name);
            let handled = interface.methods.iter().map(|method| method.name);
            let paired = |name: &&str| {
                idl.method(name).is_some() && interface.methods.iter().any(|method| method.name == *name)
            };
            if let Some(method) = described.chain(handled).find(|name| !paired(name)) {
                return Err(TableError::Unpaired { interface: idl.name, method });
            }
            for row in interface.methods {
                let fields = idl.method(row.name).map(|method| &method.input);
                let missing =
                    |name| !fields.is_some_and(|fields| fields.iter().any(|field| field.name == name));
                if let Some((field, _)) = row.rules.iter().find(|(name, _)| missing(*name)) {
                    return Err(TableError::NoField { method: row.name, field });
                }
            }
            names.push(idl.name);
            served.push((idl, interface));
        }
        names.sort_unstable();
        Ok(Self { info: Info { about, interfaces: names }, served, service })
    }

    /// Whether there is a method that receives descriptors.
    pub fn receives_descriptors(&self) -> bool {
        let mut rows = self.served.iter().flat_map(|(_, table)| table.methods);
        rows.any(|row| matches!(row.descriptors, Descriptors::Received(_)))
    }

    /// How many descriptors may come with a call of `method`.
    pub fn most_descriptors(&self, method: &str) -> usize {
        let Some((interface, name)) = method.rsplit_once('.') else { return 0 };
        let table = self.served.iter().find(|(idl, _)| idl.name == interface).map(|(_, table)| table);
        let row = table.and_then(|table| table.methods.iter().find(|row| row.name == name));
        match row.map(|row| row.descriptors) {
            Some(Descriptors::Received(most)) => most,
            _ => 0,
        }
    }

    /// What to do with a call of `method`.
    pub fn decide(&self, method: &str, parameters: Option<Object>, more: bool) -> Decision<'_, C> {
        self.find(method, parameters, more).unwrap_or_else(Decision::Refuse)
    }

    fn find(&self, full: &str, object: Option<Object>, more: bool) -> Result<Decision<'_, C>, ErrorReply> {
        let unknown = || ErrorReply::method_not_found(full);
        let (interface, name) = full.rsplit_once('.').ok_or_else(unknown)?;
        if interface == self.service.name {
            let parameters = checked(&self.service, name, &[], object).ok_or_else(unknown)??;
            return match parameters.get("interface").and_then(Value::as_str) {
                None => Ok(Decision::Info(&self.info)),
                Some(asked) => self.description(asked).map(Decision::Description),
            };
        }
        let (idl, table) = self.served.iter().find(|(idl, _)| idl.name == interface).ok_or_else(unknown)?;
        let row = table.methods.iter().find(|row| row.name == name).ok_or_else(unknown)?;
        if row.more == More::Required && !more {
            return Err(ErrorReply::expected_more());
        }
        let parameters = checked(idl, name, row.rules, object).ok_or_else(unknown)??;
        Ok(Decision::Run(row, parameters))
    }

    fn description(&self, name: &str) -> Result<&'static str, ErrorReply> {
        let others = self.served.iter().map(|(idl, table)| (idl.name, table.description));
        others
            .chain([(self.service.name, SERVICE)])
            .find(|(served, _)| *served == name)
            .map(|(_, text)| text)
            .ok_or_else(|| ErrorReply::interface_not_found(name))
    }
}

const SERVICE: &str = include_str!("idl/org.varlink.service.varlink");
const SYSTEM: &str = include_str!("idl/io.systemd.varlink");

/// The parameters of a call of `method`; `None` when `idl` has no such method.
fn checked(
    idl: &Idl,
    method: &str,
    rules: &[(&str, Rule)],
    object: Option<Object>,
) -> Option<Result<Map<String, Value>, ErrorReply>> {
    let fields = &idl.method(method)?.input;
    let parameters = check(idl, fields, rules, object.unwrap_or_default());
    Some(parameters.map_err(|BadParameter(name)| ErrorReply::invalid_parameter(&name)))
}
