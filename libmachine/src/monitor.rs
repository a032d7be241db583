//! Waiting for machines to come, go and change.
//!
//! inotify(7) tells of files, and by their names alone: which machine a record was of when it was written is known only as
//! long as nothing has happened to the file since. So all that is queued is read before a record is, and again after it:
//! where the queue then has more of that name, the machine came and went too quickly to be told from others, and an event
//! says so by having no incarnation.

use registry::MachineName;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::event::{Change, Event, MonitorOptions};
use crate::inotify::Notice;
use crate::known::{Known, Table, Watched};
use crate::names::{Listing, all_names, each_name_in};
use crate::notices::Notices;
use crate::origin::Origin;
use crate::registries::{Registries, Registry};
use crate::registry_watch::{About, RegistryWatch};
use crate::snapshot::Snapshot;
use crate::sort::sort;
use crate::system::{Borrowed, Descriptor, add_to_poll, new_poll, readable_of_poll};

/// Tells which machine came, went or changed, in the order in which it happened.
#[derive(Debug)]
pub struct Monitor {
    origin: Origin,
    options: MonitorOptions,
    /// In front of the poll, which tells of their leaders.
    known: Table,
    /// Readable when there is something to tell: the watch, and the leaders.
    poll: Descriptor,
    notices: Notices,
    registry: RegistryWatch,
    /// The caller's own.
    own: Option<RegistryWatch>,
    /// Found, and not told yet: the next is the last.
    found: Buffer<Event>,
    next_step: Step,
}

/// What has to be done before anything else is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nothing.
    Follow,
    /// Watch the directory of the records, and take in what is there: as what has come, or as what was there.
    Enter { is_first: bool },
    /// The directory was removed.
    Gone,
}

/// So often is a record that was just read looked at again because something happened to it.
const SETTLING: usize = 16;

impl Monitor {
    /// Starts to watch. Machines that are there already are not told.
    ///
    /// # Errors
    /// `ENOENT`: there is no registry. Others: it cannot be read, or inotify(7) fails.
    pub fn new() -> Result<Self, Errno> {
        Self::with(MonitorOptions::default())
    }

    /// Starts to watch.
    ///
    /// # Errors
    /// As [`Monitor::new`]; but no registry is none where that is waited for.
    #[inline(never)]
    pub fn with(options: MonitorOptions) -> Result<Self, Errno> {
        let (poll, notices) = (new_poll()?, Notices::new()?);
        add_to_poll(poll.borrow(), notices.watch().borrow())?;
        let mut monitor = Self {
            origin: Origin::new(),
            options,
            poll,
            notices,
            registry: RegistryWatch::of(Registry::SYSTEM),
            own: Registry::of_caller().map(RegistryWatch::of),
            known: Table::new(),
            found: Buffer::new(),
            next_step: Step::Enter { is_first: true },
        };
        monitor.enter(true)?;
        monitor.found.reverse();
        Ok(monitor)
    }

    /// The descriptor that becomes readable when there may be something to tell.
    pub const fn descriptor(&self) -> Borrowed<'_> {
        self.poll.borrow()
    }

    /// The next event; `None` if there is none at the moment.
    ///
    /// # Errors
    /// `ESTALE`: the directory of the records was removed, and a new monitor is needed. `ECHILD`: this process is a child
    /// of that which made the monitor. `ENOMEM`, `EMFILE` and the like: nothing is lost, and the next call tries again.
    #[inline(never)]
    pub fn next_event(&mut self) -> Result<Option<Event>, Errno> {
        if !self.origin.is_here() {
            return Err(Errno::CHILD);
        }
        loop {
            if let Some(event) = self.found.pop() {
                return Ok(Some(event));
            }
            let is_done = self.go_on();
            // What it has found comes in its order.
            self.found.reverse();
            if !is_done? {
                return Ok(None);
            }
        }
    }

    /// Does what is next, if something has been found of that or not; `false` if there is nothing to do.
    fn go_on(&mut self) -> Result<bool, Errno> {
        match self.next_step {
            Step::Follow => {}
            Step::Enter { is_first } => return self.enter(is_first).map(|()| true),
            Step::Gone => return Err(Errno::STALE),
        }
        if let Some(notice) = self.notices.first() {
            self.deal_with(&notice)?;
            self.notices.pass(&notice);
            return Ok(true);
        }
        Ok(self.notices.fill()? || self.look_at_leaders()?)
    }

    /// Deals with the first notice of the queue. Where something is short it stays the first, and nothing has changed.
    fn deal_with(&mut self, notice: &Notice) -> Result<(), Errno> {
        match self.registry.about(notice) {
            About::Overflow => return self.overflow(),
            // It may be there now; or what is above it is not.
            About::Above => {
                self.next_step = Step::Enter { is_first: false };
                return Ok(());
            }
            About::End => return self.end(),
            About::Entry => {}
            About::Nothing => match self.own.as_ref().map_or(About::Nothing, |own| own.about(notice)) {
                About::Above => return self.enter_own(notice),
                About::End => return self.end_of_own(notice),
                About::Entry => {}
                About::Overflow | About::Nothing => return Ok(()),
            },
        }
        let is_file = !notice.is_any(libc::IN_ISDIR);
        let Some(name) = notice.name.filter(|name| is_file && self.is_wanted(name)) else { return Ok(()) };
        if notice.is_any(libc::IN_MOVED_TO) {
            self.was_written(name, notice)
        } else {
            self.was_removed(name, notice)
        }
    }

    /// The directory of the caller's own records may be there now.
    fn enter_own(&mut self, notice: &Notice) -> Result<(), Errno> {
        let Some(registry) = self.start_own()? else { return Ok(()) };
        let mut names = Buffer::new();
        each_name_in(registry, Listing::All, &mut |name| names.push(name))?;
        for &name in names.iter() {
            let found = if self.is_wanted(&name) { Snapshot::if_there(&name)? } else { None };
            if found.is_some_and(|machine| machine.registry() == registry) {
                self.was_written(name, notice)?;
            }
        }
        Ok(())
    }

    /// The directory of the caller's own records is no more: nor are the machines that only that one had.
    fn end_of_own(&mut self, notice: &Notice) -> Result<(), Errno> {
        let mut names = Buffer::new();
        self.known.iter().try_for_each(|known| names.push(known.name))?;
        for &name in names.iter() {
            if Snapshot::if_there(&name)?.is_none() {
                self.was_removed(name, notice)?;
            }
        }
        if let Some(own) = &mut self.own {
            own.stop(self.notices.watch());
        }
        self.start_own().map(|_| ())
    }

    /// Watches the caller's own registry, or for it to come; that registry if it is there, and was not watched before. Where it
    /// can never come there is none.
    fn start_own(&mut self) -> Result<Option<Registry>, Errno> {
        let Some(own) = self.own.as_mut().filter(|own| !own.is_there()) else { return Ok(None) };
        match own.start(self.notices.watch(), true) {
            Ok(is_there) => Ok(Some(own.registry()).filter(|_| is_there)),
            Err(errno) if errno.is_shortage() => Err(errno),
            Err(_) => Ok(None),
        }
    }

    fn is_wanted(&self, name: &MachineName) -> bool {
        self.options.only.is_none_or(|only| only == *name)
    }

    fn overflow(&mut self) -> Result<(), Errno> {
        self.found.push(Event::of(Change::Overflow, None, None))?;
        self.known.clear();
        self.next_step = Step::Enter { is_first: true };
        Ok(())
    }

    /// The directory of the records is no more: nor are the machines.
    fn end(&mut self) -> Result<(), Errno> {
        self.found.reserve(self.known.len())?;
        for known in self.known.iter().filter(|known| !known.is_over) {
            self.found.push(Event::of(Change::Removed, Some(known.name), known.incarnation))?;
        }
        self.known.clear();
        self.registry.stop(self.notices.watch());
        let waits = self.options.wait_for_registry;
        self.next_step = if waits { Step::Enter { is_first: false } } else { Step::Gone };
        Ok(())
    }

    fn was_removed(&mut self, name: MachineName, notice: &Notice) -> Result<(), Errno> {
        let has_two = self.own.as_ref().is_some_and(RegistryWatch::is_there);
        // The other registry may have one of this name: the same, mostly, which both have.
        if has_two && Snapshot::if_there(&name)?.is_some() {
            return self.was_written(name, notice);
        }
        let Ok(place) = self.known.place(&name) else { return Ok(()) };
        if let Some(known) = self.known.get(place).filter(|known| !known.is_over) {
            self.found.push(Event::of(Change::Removed, Some(name), known.incarnation))?;
        }
        self.known.remove(place);
        Ok(())
    }

    fn was_written(&mut self, name: MachineName, notice: &Notice) -> Result<(), Errno> {
        let mut machine = None;
        if !self.notices.is_met(&name, self.notices.behind(notice)) {
            let end = self.notices.end();
            machine = Snapshot::if_there(&name)?;
            self.notices.fill()?;
            if self.notices.is_met(&name, end) {
                machine = None;
            }
        }
        let incarnation = machine.as_ref().and_then(Snapshot::incarnation);
        // Whatever is told, there is room for it.
        self.found.reserve(3)?;
        let known = self.known.place(&name).ok().and_then(|place| self.known.get(place));
        let Some((old, is_over)) = known.map(|known| (known.incarnation, known.is_over)) else {
            return self.has_come(self.known_of(name, machine.as_ref())?, machine);
        };
        let is_other = machine.is_some() && old.is_some() && old != incarnation;
        if is_over && (is_other || machine.is_none()) {
            return self.has_come(self.known_of(name, machine.as_ref())?, machine);
        }
        if is_other {
            // Once it is certain that nothing is short.
            let fresh = self.known_of(name, machine.as_ref())?;
            self.found.push(Event::of(Change::Removed, Some(name), old))?;
            return self.has_come(fresh, machine);
        }
        if is_over {
            return Ok(());
        }
        let mut has_ended = false;
        if old.is_none() && incarnation.is_some() {
            // It is known only now which it is.
            let fresh = self.known_of(name, machine.as_ref())?;
            has_ended = fresh.is_over;
            self.known.insert(fresh)?;
        }
        self.found.push(Event { machine, ..Event::of(Change::Changed, Some(name), incarnation) })?;
        if has_ended { self.found.push(Event::of(Change::Removed, Some(name), incarnation)) } else { Ok(()) }
    }

    /// Takes in a machine, in the place of one of its name, for which there is room.
    fn has_come(&mut self, known: Known, machine: Option<Snapshot>) -> Result<(), Errno> {
        let (name, incarnation, is_over) = (known.name, known.incarnation, known.is_over);
        self.known.insert(known)?;
        self.found.push(Event { machine, ..Event::of(Change::New, Some(name), incarnation) })?;
        if is_over {
            // It came and went.
            self.found.push(Event::of(Change::Removed, Some(name), incarnation))?;
        }
        Ok(())
    }

    /// What there is to know of a machine, its leader opened and watched if that is wanted.
    fn known_of(&self, name: MachineName, machine: Option<&Snapshot>) -> Result<Known, Errno> {
        let mut known = Known {
            name,
            incarnation: machine.and_then(Snapshot::incarnation),
            leader: None,
            is_over: false,
        };
        let Some(machine) = machine.filter(|_| self.options.watch_leaders) else { return Ok(known) };
        match machine.open_leader() {
            Ok(leader) => known.leader = Some(Watched::new(leader, self.poll.borrow())?),
            Err(Errno::SRCH) => known.is_over = true,
            Err(errno) if errno.is_shortage() => return Err(errno),
            // It cannot be watched from here; its record still can.
            Err(_) => {}
        }
        Ok(known)
    }

    /// Tells of a leader that has ended; `false` if none has.
    fn look_at_leaders(&mut self) -> Result<bool, Errno> {
        let number = match readable_of_poll(&self.poll)? {
            Some(number) if number != self.notices.watch().borrow().number() => number,
            readable => return Ok(readable.is_some()),
        };
        self.found.reserve(1)?;
        let has = |known: &Known| known.leader.as_ref().is_some_and(|leader| leader.is(number));
        let Some(place) = self.known.iter().position(has) else { return Ok(false) };
        let Some(known) = self.known.get_mut(place) else { return Ok(false) };
        (known.leader, known.is_over) = (None, true);
        let event = Event::of(Change::Removed, Some(known.name), known.incarnation);
        self.found.push(event)?;
        Ok(true)
    }

    /// Watches the directory of the records, and takes in what is there.
    #[inline(never)]
    fn enter(&mut self, is_first: bool) -> Result<(), Errno> {
        let waits = self.options.wait_for_registry;
        self.start_own()?;
        let has_own = self.own.as_ref().is_some_and(RegistryWatch::is_there);
        let has_system = self.registry.is_there() || self.registry.start(self.notices.watch(), waits)?;
        if !has_system && !has_own {
            if is_first && !waits {
                return Err(Errno::NOENT);
            }
            self.tell_listed(is_first)?;
            self.next_step = Step::Follow;
            return Ok(());
        }
        let mut known = Table::new();
        let mut machines = Buffer::new();
        self.take_in(&mut known, &mut machines)?;
        let change = if is_first { Change::Present } else { Change::New };
        self.found.reserve(machines.len().saturating_add(1))?;
        machines.reverse();
        while let Some(machine) = machines.pop() {
            let machine: Snapshot = machine;
            let is_alive = known
                .place(machine.name())
                .is_ok_and(|place| known.get(place).is_some_and(|known| !known.is_over));
            // Of the caller's own registry, where the system's has come now.
            let is_told = !is_first && self.knows(&machine);
            if is_alive && !is_told && (self.options.list || !is_first) {
                let event = Event::of(change, Some(*machine.name()), machine.incarnation());
                self.found.push(Event { machine: Some(machine), ..event })?;
            }
        }
        self.known = known;
        self.tell_listed(is_first)?;
        self.next_step = Step::Follow;
        Ok(())
    }

    fn knows(&self, machine: &Snapshot) -> bool {
        let known = self.known.place(machine.name()).ok().and_then(|place| self.known.get(place));
        known.is_some_and(|known| known.incarnation == machine.incarnation())
    }

    fn tell_listed(&mut self, is_first: bool) -> Result<(), Errno> {
        if is_first && self.options.list {
            self.found.push(Event::of(Change::Listed, None, None))
        } else {
            Ok(())
        }
    }

    /// Reads what is there, so that nothing of the queue is older than what was read: records that are met in it are read
    /// again.
    fn take_in(&mut self, known: &mut Table, machines: &mut Buffer<Snapshot>) -> Result<(), Errno> {
        match self.options.only {
            Some(only) => self.take_in_one(known, machines, only)?,
            None => {
                let mut names = all_names(Registries::look())?;
                // So that each has its place behind those before it.
                sort(&mut names, |one: &MachineName, other| one < other);
                for &name in names.iter() {
                    self.take_in_one(known, machines, name)?;
                }
            }
        }
        for _ in 0..SETTLING {
            if !self.notices.fill()? {
                break;
            }
            while let Some(notice) = self.notices.first() {
                match self.about(&notice) {
                    // It is dealt with later.
                    About::Overflow | About::End => return Ok(()),
                    About::Above | About::Nothing => {}
                    About::Entry => {
                        if let Some(name) = notice.name.filter(|name| self.is_wanted(name)) {
                            if let Ok(place) = known.place(&name) {
                                known.remove(place);
                            }
                            machines.keep(|machine| *machine.name() != name);
                            self.take_in_one(known, machines, name)?;
                        }
                    }
                }
                self.notices.pass(&notice);
            }
        }
        Ok(())
    }

    /// What a notice is about, of whichever registry.
    fn about(&self, notice: &Notice) -> About {
        match (self.registry.about(notice), &self.own) {
            (About::Nothing, Some(own)) => own.about(notice),
            (about, _) => about,
        }
    }

    fn take_in_one(
        &self,
        known: &mut Table,
        machines: &mut Buffer<Snapshot>,
        name: MachineName,
    ) -> Result<(), Errno> {
        let Some(machine) = Snapshot::if_there(&name)? else { return Ok(()) };
        known.insert(self.known_of(name, Some(&machine))?)?;
        machines.push(machine)
    }
}

#[cfg(feature = "std")]
impl std::os::fd::AsFd for Monitor {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

#[cfg(feature = "std")]
impl std::os::fd::AsRawFd for Monitor {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poll.borrow().number()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // A child shares the poll with its parent, who still needs it.
        if !self.origin.is_here() {
            for known in self.known.iter_mut() {
                known.leader.iter_mut().for_each(Watched::give_up);
            }
        }
    }
}
