//! The D-Bus front end, org.freedesktop.machine1(5): tables over the daemon's operations.

use std::cell::Cell;
use std::rc::Rc;

use dbus_server::{Label, Limits, Link, Object, Place, Server};
use zbus::message::{Message, Type};
use zbus::{Connection, ObjectPath};

use crate::announcements::Listener;
use crate::bus::NAME;
use crate::daemon::Announcement;

mod authority;
mod bind;
mod copy;
mod errors;
mod image;
mod image_changes;
mod kill;
mod leader;
mod log_control;
mod machine;
mod manager;
mod mapping;
mod metadata;
mod register;
mod subject;
mod terminal;

use crate::operations::Operations;
use subject::Subject;

/// The manager's path.
const MANAGER_PATH: &str = "/org/freedesktop/machine1";
/// Below it are the machines.
const MACHINE_PATH: &str = "/org/freedesktop/machine1/machine";

/// Below it are the images.
const IMAGE_PATH: &str = "/org/freedesktop/machine1/image";

/// Everything that is served.
const OBJECTS: &[Object<Operations, Subject>] = &[
    Object {
        path: MANAGER_PATH,
        place: Place::Fresh { subject: Subject::Manager, look: image::look_at_pool },
        interfaces: &[manager::INTERFACE],
    },
    Object {
        path: MACHINE_PATH,
        place: Place::Below { find: subject::find, labels: subject::labels },
        interfaces: &[machine::INTERFACE],
    },
    Object {
        path: IMAGE_PATH,
        place: Place::Below { find: image::find, labels: image::labels },
        interfaces: &[image::INTERFACE],
    },
    Object {
        path: "/org/freedesktop/LogControl1",
        place: Place::Here(Subject::LogControl),
        interfaces: &[log_control::INTERFACE],
    },
];

/// What `--bus-introspect` prints: for `list` each path and interface, else the description in XML of what is at the path,
/// and at those below it for machines and images. `None` where nothing is.
pub fn introspect(path: &str) -> Option<String> {
    if path == "list" {
        let rows = OBJECTS.iter().flat_map(|object| {
            object.interfaces.iter().map(|interface| format!("{}\t{}\n", object.path, interface.name))
        });
        return Some(rows.collect());
    }
    dbus_server::introspect(OBJECTS, path)
}

/// The path of a machine's object.
fn path_of(name: &str) -> ObjectPath<'static> {
    // A label has only characters that a path may have.
    ObjectPath::from_string_unchecked(Label::path(MACHINE_PATH, name))
}

/// Serves on a connection until that ends. From this call on no message is missed, so that the name can be asked for.
/// `hear` is shown all signals, and must not wait.
pub fn serve(
    operations: Rc<Operations>,
    connection: &Connection,
    hear: impl Fn(&Message) + 'static,
) -> impl Future<Output = ()> + 'static {
    let (link, traffic) = Link::new(connection);
    let server = Server::new(operations.clone(), OBJECTS, link, Limits::default());
    let has_name = Rc::new(Cell::new(false));
    let (announcer, is_heard) = (server.clone(), has_name.clone());
    // Until the name is ours, nobody can tell whose signals they are.
    let listener: Rc<Listener<Announcement>> = Rc::new(move |announcement| {
        if is_heard.get() {
            announce(&announcer, announcement);
        }
    });
    operations.announcements().subscribe(&listener);
    async move {
        // What waits for anything must be a task of its own: the queue of a connection has 64 places, and an answer that
        // nobody can take out of it is waited for in vain.
        let hear_signals = |message: &Message| {
            if message.message_type() != Type::Signal {
                return;
            }
            hear(message);
            if is_acquisition(message) && !has_name.replace(true) {
                operations.announced().into_iter().for_each(|name| listener(Announcement::New(name)));
            }
        };
        traffic.run(server, hear_signals).await;
    }
}

fn announce(server: &Rc<Server<Operations, Subject>>, announcement: Announcement) {
    let (signal, name) = match announcement {
        Announcement::New(name) => ("MachineNew", name),
        Announcement::Removed(name) => ("MachineRemoved", name),
    };
    let name = name.as_str();
    server.emit(MANAGER_PATH, manager::INTERFACE.name, signal, &(name, path_of(name)));
}

/// Whether a signal is the bus's, which says that the name is ours now, D-Bus Specification, "org.freedesktop.DBus.NameAcquired".
fn is_acquisition(message: &Message) -> bool {
    let header = message.header();
    header.sender().is_some_and(|sender| sender.as_str() == "org.freedesktop.DBus")
        && header.member().is_some_and(|member| member.as_str() == "NameAcquired")
        && message.body().deserialize::<&str>().is_ok_and(|name| name == NAME)
}
