"""What the journal is told."""

import json

import place
from place import run
from varlink import OK, ask, register
from waiting import until

START, STOP = "24d8d4452573402496068381a6312df2", "58432bd3bace477cb514b56381b8a758"


def entries(message_id):
    text = run("journalctl", "--boot", "--output=json", f"MESSAGE_ID={message_id}")
    return [json.loads(line) for line in text.splitlines()]


class Journal(place.Case):
    def test_a_machine_that_comes_and_goes_is_told_as_by_the_original(self):
        leader = self.apart()
        name = f"told-{leader.pid}"
        self.assertEqual(register(name, leader.pid), OK)
        self.assertEqual(ask("Unregister", {"name": name}), OK)
        for message_id, text in ((START, f"New machine {name}."), (STOP, f"Machine {name} terminated.")):
            entry = until(lambda message_id=message_id: [entry for entry in entries(message_id)
                                                         if entry.get("NAME") == name], "the entry")[0]
            fields = {key: entry.get(key) for key in (
                "MESSAGE", "MESSAGE_ID", "NAME", "LEADER", "PRIORITY", "SYSLOG_FACILITY", "_SYSTEMD_UNIT")}
            self.assertEqual(fields, {
                "MESSAGE": text, "MESSAGE_ID": message_id, "NAME": name, "LEADER": str(leader.pid), "PRIORITY": "6",
                "SYSLOG_FACILITY": "4", "_SYSTEMD_UNIT": place.SERVICE})
        self.assertEqual(len([entry for entry in entries(START) if entry["NAME"] == name]), 1)

    def test_a_machine_that_is_taken_in_again_is_told_again(self):
        leader = self.apart()
        name = f"again-{leader.pid}"
        self.assertEqual(register(name, leader.pid), OK)
        run("systemctl", "restart", place.SERVICE)
        until(lambda: len([entry for entry in entries(START) if entry["NAME"] == name]) == 2, "the second entry")

    def test_the_level_is_set_over_the_bus(self):
        self.assertEqual(run("systemctl", "service-log-level", place.SERVICE), "info")
        run("systemctl", "service-log-level", place.SERVICE, "err")
        self.assertEqual(run("systemctl", "service-log-level", place.SERVICE), "err")
        leader = self.apart()
        name = f"quiet-{leader.pid}"
        self.assertEqual(register(name, leader.pid), OK)
        run("systemctl", "service-log-level", place.SERVICE, "info")
        self.assertEqual(ask("Unregister", {"name": name}), OK)
        until(lambda: [entry for entry in entries(STOP) if entry["NAME"] == name], "the entry of its end")
        self.assertEqual([entry for entry in entries(START) if entry["NAME"] == name], [])


if __name__ == "__main__":
    place.main()
