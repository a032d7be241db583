"""What does not work yet, or is known to be different: sentences of tests that have to fail, and why.

One that starts to work fails until it is taken out here.
"""

# By whose daemon runs.
GAPS = {
    "stock257": {
        "a fifo in an image holds up nobody":
            "the whole daemon waits for whoever opens the FIFO next",
        "a leader that is registered already is refused and its unit lives":
            "it stops the unit of the one that was there",
    },
    "stock262": {
        "images that links lead to are known by the names of the links":
            "it removes what a link leads to, and not the link",
        "a link to a block device is renamed and removed and not the device":
            "it takes what a link leads to for the image",
        "a fifo in an image holds up nobody":
            "the whole daemon waits for whoever opens the FIFO next",
        "a registrar is left alone when its machine ends or is refused":
            "it sends SIGTERM to the process that registered the machine",
        "a leader that is registered already is refused and its unit lives":
            "it stops the unit of the one that was there",
        "ps names the machine of deep processes":
            "it has no link from systemd-nspawn@.service to the machine",
    },
    "ours": {
    },
}


def of(flavour):
    return GAPS[flavour]
