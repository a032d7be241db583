//! The description of an object, byte for byte as sd-bus writes it for the same table.

use std::fmt::Write;

use crate::standard::DESCRIPTION;
use crate::table::{Argument, Changes, Interface, Method, Object, Property, Signal};

const HEAD: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
    \"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n";

/// Describes an object with these interfaces, and with nodes of these names below it.
pub(crate) fn describe<C, O>(
    interfaces: &[Interface<C, O>],
    children: impl IntoIterator<Item = impl std::fmt::Display>,
) -> String {
    let mut xml = format!("{HEAD}{DESCRIPTION}");
    // A String takes whatever is written to it.
    let _ = interfaces.iter().try_for_each(|interface| write_interface(&mut xml, interface));
    let _ = children.into_iter().try_for_each(|child| writeln!(xml, " <node name=\"{child}\"/>"));
    xml.push_str("</node>\n");
    xml
}

/// Describes what is at a path from the tables alone, without a bus: the object, or those below it where it stands for many.
/// Of the nodes below it, those are named that have a table of their own. `None` where there is no such path.
#[must_use]
pub fn introspect<C, O>(objects: &[Object<C, O>], path: &str) -> Option<String> {
    let object = objects.iter().find(|object| object.path == path)?;
    let children = objects.iter().filter_map(|other| other.path.strip_prefix(path)?.strip_prefix('/'));
    Some(describe(object.interfaces, children))
}

fn write_interface<C, O>(xml: &mut String, interface: &Interface<C, O>) -> std::fmt::Result {
    writeln!(xml, " <interface name=\"{}\">", interface.name)?;
    for property in interface.properties.iter().filter(|property| !property.hidden) {
        write_property(xml, property)?;
    }
    for method in interface.methods.iter().filter(|method| !method.hidden) {
        write_method(xml, method)?;
    }
    for signal in interface.signals {
        write_signal(xml, signal)?;
    }
    writeln!(xml, " </interface>")
}

fn write_property<C, O>(xml: &mut String, property: &Property<C, O>) -> std::fmt::Result {
    let Property { name, signature, .. } = property;
    let access = if property.set.is_some() { "readwrite" } else { "read" };
    writeln!(xml, "  <property name=\"{name}\" type=\"{signature}\" access=\"{access}\">")?;
    let changes = match property.changes {
        Changes::Never => "const",
        Changes::Untold => "false",
    };
    annotate(xml, "org.freedesktop.DBus.Property.EmitsChangedSignal", changes)?;
    if property.set.is_some() {
        annotate(xml, PRIVILEGED, "true")?;
    }
    writeln!(xml, "  </property>")
}

const PRIVILEGED: &str = "org.freedesktop.systemd1.Privileged";

fn annotate(xml: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(xml, "   <annotation name=\"{name}\" value=\"{value}\"/>")
}

fn write_method<C, O>(xml: &mut String, method: &Method<C, O>) -> std::fmt::Result {
    writeln!(xml, "  <method name=\"{}\">", method.name)?;
    write_arguments(xml, method.input, " direction=\"in\"")?;
    write_arguments(xml, method.output, " direction=\"out\"")?;
    if method.privileged {
        annotate(xml, PRIVILEGED, "true")?;
    }
    writeln!(xml, "  </method>")
}

fn write_signal(xml: &mut String, signal: &Signal) -> std::fmt::Result {
    writeln!(xml, "  <signal name=\"{}\">", signal.name)?;
    write_arguments(xml, signal.arguments, "")?;
    writeln!(xml, "  </signal>")
}

fn write_arguments(xml: &mut String, arguments: &[Argument], direction: &str) -> std::fmt::Result {
    arguments.iter().try_for_each(|Argument { signature, name }| match *name {
        "" => writeln!(xml, "   <arg type=\"{signature}\"{direction}/>"),
        name => writeln!(xml, "   <arg type=\"{signature}\" name=\"{name}\"{direction}/>"),
    })
}
