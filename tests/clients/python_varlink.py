"""python-varlink as a client of the image interface: lists, describes, copies, renames and removes. Tells what it saw as JSON."""

import json

import varlink

client = varlink.Client.new_with_address("unix:/run/systemd/machine/io.systemd.MachineImage")
told = {"interfaces": sorted(client.get_interfaces())}
with client, client.open("io.systemd.MachineImage") as images:
    told["names"] = sorted(image["name"] for image in images.List(_more=True))
    told["tree"] = images.List(name="tree", acquireMetadata="yes")
    images.Clone(name="tree", newName="copy")
    images.Update(name="copy", newName="other", readOnly=False)
    told["other"] = images.List(name="other")["path"]
    images.Remove(name="other")
    try:
        images.Remove(name="other")
    except varlink.VarlinkError as error:
        told["error"] = error.error()
print(json.dumps(told))
