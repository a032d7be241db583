//! `list` and `status`.

use std::io::{self, Write};

use crate::cli;
use crate::columns::{COLUMNS, Column, chosen, table};
use crate::failure::{FAILED, Failure, NOT_FOUND};
use crate::machine::{Machine, Machines};
use crate::names::looked_for;
use crate::table::{Format, Table};

/// Lists all machines.
///
/// # Errors
/// The registry cannot be read, or the output not be written.
pub fn list(options: &cli::List) -> Result<u8, Failure> {
    let columns = of_option(&options.columns)?;
    let machines = Machines::read(&options.whose)?;
    let output = &options.output;
    table(&columns, &machines.all).write(&mut io::stdout().lock(), output.format, !output.no_legend)?;
    if machines.all.is_empty() && output.format == Format::Table && !output.no_legend {
        eprintln!("No machines.");
    }
    for complaint in &machines.complaints {
        eprintln!("mymachines: {complaint}");
    }
    Ok(if machines.complaints.is_empty() { 0 } else { FAILED })
}

/// Tells all that is known of machines.
///
/// # Errors
/// The registry cannot be read, or the output not be written.
pub fn status(options: &cli::Status) -> Result<u8, Failure> {
    let columns = of_option(&options.columns)?;
    let (mut machines, mut code) = (Vec::new(), 0);
    for name in &options.names {
        match looked_for(name).and_then(|name| Machine::read_of(&name, &options.whose)) {
            Ok(machine) => machines.push(machine),
            Err(failure) => {
                failure.print();
                code = code.max(failure.code());
            }
        }
    }
    let table = table(&columns, &machines);
    let mut out = io::stdout().lock();
    if options.output.format == Format::Table {
        write_blocks(&table, &mut out)?;
    } else {
        table.write(&mut out, options.output.format, !options.output.no_legend)?;
    }
    Ok(code)
}

fn of_option(names: &[String]) -> Result<Vec<&'static Column>, Failure> {
    if names == ["all"] { Ok(COLUMNS.iter().collect()) } else { chosen(names) }
}

/// One line for each thing that is known, one block for each machine.
fn write_blocks(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    for (number, row) in table.rows.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        for (title, value) in table.titles.iter().zip(row) {
            let lines = value.lines();
            for (number, line) in lines.iter().enumerate() {
                let title = if number == 0 { format!("{title}:") } else { String::new() };
                writeln!(out, "{title:>16} {line}")?;
            }
        }
    }
    Ok(())
}

const _: () = assert!(FAILED < NOT_FOUND, "of several, the one that says more is told");
