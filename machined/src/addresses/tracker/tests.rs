//! The tracker, by a clock of the tests' own.

use super::*;

fn netns(ino: u64) -> NetnsId {
    NetnsId::new(4, ino)
}

fn nsid(raw: i32) -> Nsid {
    Nsid::new(raw).unwrap()
}

fn private(ino: u64, raw: i32) -> Place {
    Place::Private { netns: netns(ino), nsid: Some(nsid(raw)) }
}

fn changed(raw: i32) -> Notification {
    Notification::Changed(Origin::Peer(nsid(raw)))
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A tracker with machine i in namespace i, called i, all dumped; and the time, a second later.
fn settled(machines: u64) -> (Tracker<u64>, Instant) {
    let start = Instant::now();
    let mut tracker = Tracker::new(Watch::Notifications);
    for i in 0..machines {
        tracker.joined(i, private(i, i32::try_from(i).unwrap()), start);
    }
    while !tracker.due(start).is_empty() {}
    assert_eq!(tracker.next_deadline(), None);
    (tracker, start + ms(1000))
}

/// Runs until `end`, and returns what was due and when, in milliseconds since `start`.
fn run(tracker: &mut Tracker<u64>, start: Instant, end: Instant) -> Vec<(u64, u64)> {
    let mut due = Vec::new();
    while let Some(at) = tracker.next_deadline().filter(|at| *at <= end) {
        let millis = u64::try_from(at.max(start).duration_since(start).as_millis()).unwrap();
        due.extend(tracker.due(at.max(start)).iter().map(|netns| (netns.ino(), millis)));
    }
    due
}

#[test]
fn one_dump_answers_for_a_burst() {
    let (mut tracker, start) = settled(3);
    for i in 0..10 {
        tracker.notification(changed(1), start + ms(i));
    }
    assert_eq!(tracker.next_deadline(), Some(start + COALESCE));
    assert_eq!(tracker.due(start + ms(19)), []);
    assert_eq!(run(&mut tracker, start, start + ms(5000)), [(1, 20)]);
}

#[test]
fn a_dump_that_failed_is_tried_again_in_a_second() {
    let (mut tracker, start) = settled(2);
    tracker.notification(changed(1), start);
    assert_eq!(tracker.due(start + COALESCE), [netns(1)]);
    tracker.failed(netns(1), start + COALESCE);
    assert_eq!(run(&mut tracker, start, start + ms(5000)), [(1, 1020)]);
    tracker.failed(netns(9), start);
    assert_eq!(tracker.next_deadline(), None);
}

#[test]
fn a_flood_is_dumped_four_times_per_second_and_the_others_are_unaffected() {
    let (mut tracker, start) = settled(3);
    let mut due = Vec::new();
    for i in 0..4000 {
        let now = start + ms(i / 4);
        tracker.notification(changed(1), now);
        if i == 2000 {
            tracker.notification(changed(2), now);
        }
        due.extend(tracker.due(now).iter().map(|netns| (netns.ino(), i / 4)));
    }
    due.extend(run(&mut tracker, start, start + ms(5000)));
    assert_eq!(due, [(1, 20), (1, 270), (1, 520), (2, 520), (1, 770), (1, 1020)]);
}

#[test]
fn the_last_change_is_always_followed_by_a_dump() {
    let (mut tracker, start) = settled(2);
    for offset in 0..600 {
        tracker.notification(changed(1), start + ms(offset));
        let _ = tracker.due(start + ms(offset));
    }
    let last = run(&mut tracker, start, start + ms(5000)).last().copied();
    assert!(last.is_some_and(|(ino, at)| ino == 1 && (599..599 + 251).contains(&at)), "{last:?}");
    assert_eq!(tracker.next_deadline(), None);
}

#[test]
fn a_change_after_due_is_followed_by_another_dump() {
    let (mut tracker, start) = settled(1);
    tracker.notification(changed(0), start);
    assert_eq!(tracker.due(start + ms(20)), [netns(0)]);
    tracker.notification(changed(0), start + ms(20));
    assert_eq!(run(&mut tracker, start, start + ms(5000)), [(0, 270)]);
}

#[test]
fn a_machine_that_joins_is_due_at_once_unless_it_was_dumped() {
    let start = Instant::now();
    let mut tracker = Tracker::new(Watch::Notifications);
    tracker.joined(1, private(1, 1), start);
    assert_eq!(tracker.due(start), [netns(1)]);
    tracker.joined(2, private(2, 2), start);
    tracker.dumped(netns(2), start);
    assert_eq!(tracker.due(start), []);
    assert_eq!(tracker.next_deadline(), None);
}

#[test]
fn machines_may_share_a_namespace() {
    let (mut tracker, start) = settled(1);
    tracker.joined(9, private(0, 0), start);
    assert_eq!(tracker.machines_in(netns(0)).collect::<Vec<_>>(), [0, 9]);
    tracker.left(0);
    assert_eq!(tracker.machines_in(netns(0)).collect::<Vec<_>>(), [9]);
    tracker.notification(changed(0), start);
    assert_eq!(tracker.due(start + ms(20)), [netns(0)]);
    tracker.left(9);
    assert_eq!(tracker.machines_in(netns(0)).count(), 0);
    tracker.notification(changed(0), start + ms(1000));
    assert_eq!(tracker.next_deadline(), None);
    assert!(tracker.namespaces.is_empty() && tracker.by_nsid.is_empty() && tracker.machines.is_empty());
}

#[test]
fn a_machine_of_the_hosts_namespace_is_never_due() {
    let start = Instant::now();
    let mut tracker = Tracker::new(Watch::Polling);
    tracker.joined(1, Place::Host, start);
    tracker.notification(Notification::Changed(Origin::Own), start);
    assert_eq!(tracker.next_deadline(), None);
    assert_eq!(tracker.namespace_of(1), Some(None));
    assert_eq!(tracker.namespace_of(2), None);
    tracker.left(1);
    assert_eq!(tracker.namespace_of(1), None);
}

#[test]
fn a_machine_that_moves_is_in_one_namespace_only() {
    let (mut tracker, start) = settled(1);
    tracker.joined(0, private(7, 7), start);
    assert_eq!(tracker.namespace_of(0), Some(Some(netns(7))));
    assert_eq!(tracker.machines_in(netns(0)).count(), 0);
    assert_eq!(tracker.due(start), [netns(7)]);
}

#[test]
fn an_id_that_is_used_again_is_learned_again() {
    let (mut tracker, start) = settled(1);
    // The old namespace died and its id went to a new one, whose machine joined before the kernel's word was read.
    tracker.joined(5, private(5, 0), start);
    let _ = tracker.due(start);
    assert!(tracker.wants_nsid(netns(0)));
    assert!(!tracker.wants_nsid(netns(5)));
    tracker.notification(Notification::NamespaceGone(nsid(0)), start);
    assert!(tracker.wants_nsid(netns(5)));
    // Deaf meanwhile, it is polled.
    assert_eq!(run(&mut tracker, start, start + ms(300)), [(5, 250)]);
    assert!(tracker.next_deadline().is_some_and(|at| at <= start + ms(1250)));
    tracker.learned(netns(5), nsid(0));
    tracker.left(0);
    let _ = run(&mut tracker, start, start + ms(2000));
    assert_eq!(tracker.next_deadline(), None, "polled although it is heard");
    tracker.notification(changed(0), start + ms(3000));
    assert_eq!(tracker.due(start + ms(3020)), [netns(5)]);
}

#[test]
fn a_namespace_of_a_new_id_is_not_heard_by_its_old_one() {
    let (mut tracker, start) = settled(1);
    tracker.learned(netns(0), nsid(8));
    tracker.notification(changed(0), start);
    assert_eq!(tracker.next_deadline(), None);
    tracker.notification(Notification::NamespaceGone(nsid(0)), start);
    assert!(!tracker.wants_nsid(netns(0)));
    tracker.notification(changed(8), start);
    assert_eq!(tracker.due(start + ms(20)), [netns(0)]);
}

#[test]
fn an_overrun_dumps_every_namespace_once_spread_out() {
    let (mut tracker, start) = settled(3000);
    tracker.notification(Notification::Overrun, start);
    let due = run(&mut tracker, start, start + ms(5000));
    assert_eq!(due.len(), 3000);
    assert_eq!(due.iter().map(|(ino, _)| *ino).collect::<BTreeSet<_>>().len(), 3000);
    assert_eq!(due.first().map(|(_, at)| *at), Some(20));
    assert!(due.iter().all(|(_, at)| *at <= 20 + 300), "{:?}", due.last());
    let busiest = (0..=320).map(|at| due.iter().filter(|(_, due)| *due == at).count()).max();
    assert!(busiest.is_some_and(|busiest| busiest <= 100), "{busiest:?}");
    assert_eq!(tracker.next_deadline(), None);
}

#[test]
fn overruns_without_end_dump_each_namespace_within_a_second_and_below_its_rate() {
    let (mut tracker, start) = settled(100);
    let mut due: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for millis in 0..5000 {
        tracker.notification(Notification::Overrun, start + ms(millis));
        for netns in tracker.due(start + ms(millis)) {
            due.entry(netns.ino()).or_default().push(millis);
        }
    }
    assert_eq!(due.len(), 100);
    for times in due.values() {
        assert!(times.windows(2).all(|pair| (250..1000).contains(&(pair[1] - pair[0]))), "{times:?}");
    }
}

#[test]
fn what_happens_during_a_sweep_is_dumped_within_a_second() {
    for at in (0..600).step_by(7) {
        let (mut tracker, start) = settled(50);
        tracker.notification(Notification::Overrun, start);
        let _ = run(&mut tracker, start, start + ms(at));
        tracker.notification(Notification::Overrun, start + ms(at));
        let due = run(&mut tracker, start + ms(at), start + ms(9000));
        let seen: BTreeSet<_> = due.iter().filter(|(_, at)| *at < 1000).map(|(ino, _)| *ino).collect();
        assert_eq!(seen.len(), 50, "overrun at {at}");
    }
}

#[test]
fn an_overrun_with_no_machines_ends() {
    let (mut tracker, start) = settled(0);
    tracker.notification(Notification::Overrun, start);
    tracker.notification(Notification::Overrun, start);
    assert_eq!(run(&mut tracker, start, start + ms(1000)), []);
    assert_eq!(tracker.next_deadline(), None);
}

#[test]
fn a_clock_that_jumps_ahead_ends_the_sweep() {
    let (mut tracker, start) = settled(10);
    tracker.notification(Notification::Overrun, start);
    tracker.notification(Notification::Overrun, start);
    let far = start + Duration::from_secs(86_400);
    assert_eq!(tracker.due(far).len(), 10);
    assert!(tracker.next_deadline().is_none_or(|at| at > far));
}

#[test]
fn due_names_a_milliseconds_worth_at_a_time() {
    let (mut tracker, start) = settled(200);
    for i in 0..200 {
        tracker.notification(changed(i), start);
    }
    let now = start + ms(20);
    let mut sizes = Vec::new();
    while tracker.next_deadline().is_some_and(|at| at <= now) {
        sizes.push(tracker.due(now).len());
    }
    assert_eq!(sizes, [64, 64, 64, 8]);
}

#[test]
fn polling_dumps_each_namespace_once_per_second_spread_out() {
    let start = Instant::now();
    let mut tracker = Tracker::new(Watch::Polling);
    for i in 0..500 {
        tracker.joined(i, Place::Private { netns: netns(4_026_532_000 + i), nsid: None }, start);
    }
    let due = run(&mut tracker, start, start + ms(10_000));
    let of_one: Vec<_> = due.iter().filter(|(ino, _)| *ino == 4_026_532_123).map(|(_, at)| *at).collect();
    assert!((10..=11).contains(&of_one.len()), "{of_one:?}");
    assert!(of_one.windows(2).all(|pair| pair[1] - pair[0] <= 1000), "{of_one:?}");
    let late: BTreeMap<u64, usize> =
        due.iter().filter(|(_, at)| *at > 0).fold(BTreeMap::new(), |mut counts, (_, at)| {
            *counts.entry(*at).or_default() += 1;
            counts
        });
    assert!(late.values().all(|count| *count == 1), "not spread: {:?}", late.values().max());
    assert!(!tracker.wants_nsid(netns(4_026_532_123)));
}

#[test]
fn a_namespace_without_an_id_is_polled_and_its_id_wanted() {
    let start = Instant::now();
    let mut tracker = Tracker::new(Watch::Notifications);
    tracker.joined(1, Place::Private { netns: netns(1), nsid: None }, start);
    tracker.joined(2, private(2, 2), start);
    let due = run(&mut tracker, start, start + ms(3000));
    assert_eq!(due.iter().filter(|(ino, _)| *ino == 2).count(), 1);
    assert_eq!(due.iter().filter(|(ino, _)| *ino == 1).count(), 4);
    assert!(tracker.wants_nsid(netns(1)));
}

#[test]
fn falling_back_polls_everything() {
    let (mut tracker, start) = settled(100);
    tracker.notification(Notification::Overrun, start);
    tracker.fall_back_to_polling(start);
    let due = run(&mut tracker, start, start + ms(1000));
    assert_eq!(due.iter().map(|(ino, _)| *ino).collect::<BTreeSet<_>>().len(), 100);
    let due = run(&mut tracker, start, start + ms(9999));
    assert!((800..=1000).contains(&due.len()), "{}", due.len());
}

#[test]
fn a_machine_that_leaves_during_a_sweep_is_not_due() {
    let (mut tracker, start) = settled(60);
    tracker.notification(Notification::Overrun, start);
    let first = tracker.due(start + ms(20));
    assert_eq!(first.len(), 2);
    for i in 0..30 {
        tracker.left(i);
    }
    let due = run(&mut tracker, start, start + ms(1000));
    assert!(due.iter().all(|(ino, _)| *ino >= 30), "{due:?}");
    assert_eq!(due.len(), 30);
}

#[test]
fn no_sequence_of_events_loses_an_agenda_entry() {
    let start = Instant::now();
    let mut tracker = Tracker::new(Watch::Notifications);
    let mut seed = 12345u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for step in 0..50_000 {
        let now = start + ms(step);
        let raw = i32::try_from(random(12)).unwrap();
        match random(8) {
            0 => tracker.joined(random(30), private(random(10), raw), now),
            1 => tracker.joined(random(30), Place::Private { netns: netns(random(10)), nsid: None }, now),
            2 => tracker.left(random(30)),
            3 => tracker.notification(Notification::NamespaceGone(nsid(raw)), now),
            4 => tracker.learned(netns(random(10)), nsid(raw)),
            5 if random(20) == 0 => tracker.notification(Notification::Overrun, now),
            6 => drop(tracker.due(now)),
            _ => tracker.notification(changed(raw), now),
        }
        let entries = tracker.namespaces.iter().filter_map(|(netns, watched)| Some((watched.due?, *netns)));
        assert_eq!(entries.collect::<BTreeSet<_>>(), tracker.agenda);
        let ids = tracker.namespaces.iter().filter_map(|(netns, watched)| Some((watched.nsid?, *netns)));
        assert_eq!(ids.collect::<BTreeMap<_, _>>(), tracker.by_nsid);
        let members: usize = tracker.namespaces.values().map(|watched| watched.machines.iter().count()).sum();
        assert_eq!(members, tracker.machines.values().flatten().count());
        assert!(tracker.namespaces.values().all(|watched| !watched.machines.is_empty()));
    }
}
