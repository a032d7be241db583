//! What is served, as data.

use std::rc::Rc;

use crate::bus::LocalFuture;
use crate::call::{Call, Reply};
use crate::error_reply::ErrorReply;
use crate::label::Label;

/// What a method comes to.
pub type Answer = LocalFuture<Result<Reply, ErrorReply>>;

/// The value of a property.
pub type Value = zbus::Variant<'static>;

/// A method: `|daemon, subject, call| Box::pin(terminate(daemon, subject, call))`.
pub type Handler<C, O> = fn(Rc<C>, O, Call) -> Answer;

/// The answer of a method that never waits.
pub fn now(answer: Result<Reply, ErrorReply>) -> Answer {
    Box::pin(std::future::ready(answer))
}

/// An object, or all objects below a path. `C` is the state of the daemon, `O` which object of a kind is meant.
pub struct Object<C: 'static, O: 'static> {
    /// The path, as it stands on the wire.
    pub path: &'static str,
    /// Whether the object is there, or below.
    pub place: Place<C, O>,
    /// What can be called.
    pub interfaces: &'static [Interface<C, O>],
}

/// Looks at an object.
pub type Look<C, O> = fn(Rc<C>, O, Call) -> LocalFuture<Result<O, ErrorReply>>;

/// Where objects are.
pub enum Place<C: 'static, O: 'static> {
    /// One, at the path.
    Here(O),
    /// The same, which is looked at whenever its properties are read: what one reply tells of it was so at one time.
    Fresh {
        /// The object.
        subject: O,
        /// What is known of it now, for this caller.
        look: Look<C, O>,
    },
    /// Any number, each one label below the path.
    Below {
        /// The object of this label, for this caller; `None` if there is none.
        find: fn(Rc<C>, Label, Call) -> LocalFuture<Option<O>>,
        /// The labels of all objects.
        labels: fn(Rc<C>, Call) -> LocalFuture<Vec<Label>>,
    },
}

/// An interface.
pub struct Interface<C: 'static, O: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Its properties, in the order of introspection.
    pub properties: &'static [Property<C, O>],
    /// Its methods, after them.
    pub methods: &'static [Method<C, O>],
    /// Its signals, at the end.
    pub signals: &'static [Signal],
}

/// An argument of a method or a signal.
#[derive(Debug)]
pub struct Argument {
    /// Its type.
    pub signature: &'static str,
    /// Its name; empty if introspection says none.
    pub name: &'static str,
}

/// An argument.
pub const fn arg(signature: &'static str, name: &'static str) -> Argument {
    Argument { signature, name }
}

/// A signal.
#[derive(Debug)]
pub struct Signal {
    /// Its name.
    pub name: &'static str,
    /// What it carries.
    pub arguments: &'static [Argument],
}

/// A method.
pub struct Method<C: 'static, O: 'static> {
    /// Its name.
    pub name: &'static str,
    /// What a call has to carry.
    pub input: &'static [Argument],
    /// What a reply carries.
    pub output: &'static [Argument],
    /// Whether only root and the daemon's own user get to the handler.
    pub privileged: bool,
    /// Whether introspection says nothing of it.
    pub hidden: bool,
    /// What runs.
    pub handler: Handler<C, O>,
}

impl<C, O> Method<C, O> {
    /// A method that everybody may call, as far as the table is concerned.
    pub const fn new(
        name: &'static str,
        input: &'static [Argument],
        output: &'static [Argument],
        handler: Handler<C, O>,
    ) -> Self {
        Self { name, input, output, privileged: false, hidden: false, handler }
    }

    /// The same, for root and the daemon's own user only.
    #[must_use]
    pub const fn privileged(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// The same, but not in the introspection.
    #[must_use]
    pub const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

/// Whether others are told that a property changed, D-Bus Specification, `EmitsChangedSignal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// It never changes.
    Never,
    /// It may, and nobody is told.
    Untold,
}

/// Says what a property is.
pub type Get<C, O> = fn(&C, &O) -> Result<Value, ErrorReply>;

/// Changes a property.
pub type Set<C, O> = fn(&C, &O, Value) -> Result<(), ErrorReply>;

/// A property.
pub struct Property<C: 'static, O: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub signature: &'static str,
    /// Whether it changes.
    pub changes: Changes,
    /// Whether introspection and `GetAll` say nothing of it.
    pub hidden: bool,
    /// Its value now.
    pub get: Get<C, O>,
    /// Changes it, if it can be changed: by root and the daemon's own user.
    pub set: Option<Set<C, O>>,
}

impl<C, O> Property<C, O> {
    /// A property that can only be read.
    pub const fn new(name: &'static str, signature: &'static str, changes: Changes, get: Get<C, O>) -> Self {
        Self { name, signature, changes, hidden: false, get, set: None }
    }

    /// The same, but not in the introspection.
    #[must_use]
    pub const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    /// The same, which root and the daemon's own user can change.
    #[must_use]
    pub const fn writable(self, set: Set<C, O>) -> Self {
        Self { set: Some(set), ..self }
    }
}
