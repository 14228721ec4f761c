# Calls of python3-libvirt, with what each gives or how it is refused. The URI is the argument.
import libvirt
import sys

libvirt.registerErrorHandler(lambda *_: None, None)
libvirt.virEventRegisterDefaultImpl()
c = libvirt.open(sys.argv[1])


def show(name, call):
    try:
        print(name, call())
    except libvirt.libvirtError as error:
        print(name, error.err)


def names(objects):
    return sorted(each.name() for each in objects)


d = c.lookupByName("test")
show("info of the host", lambda: c.getInfo())
show("versions", lambda: (c.getLibVersion(), c.getVersion(), c.getType()))
show("memory", lambda: (c.getFreeMemory(), c.getCellsFreeMemory(0, 2)))
show("security", lambda: (c.isSecure(), c.isEncrypted(), c.getSecurityModel(), d.securityLabel()))
show("processors", lambda: (c.getCPUMap(), c.getCPUStats(-1), len(c.getCPUModelNames("x86_64"))))
show("domains", lambda: (names(c.listAllDomains()), c.listDomainsID(), c.numOfDefinedDomains()))
show("networks", lambda: (c.listNetworks(), c.numOfNetworks(), c.listDefinedNetworks()))
show("pools", lambda: (c.listStoragePools(), c.listDefinedStoragePools(), c.numOfStoragePools()))
show("interfaces", lambda: (c.listInterfaces(), c.listDefinedInterfaces()))
show("devices", lambda: (names(c.listAllDevices()), sorted(c.listDevices("scsi_host"))))
for kind in ["system", "scsi_host", "net", "fc_host", "vports"]:
    show("devices " + kind, lambda: sorted(c.listDevices(kind)))
for device in names(c.listAllDevices()):
    found = c.nodeDeviceLookupByName(device)
    show(device, lambda: (found.parent(), found.listCaps(), found.XMLDesc()))

for name in ["nobody", ""]:
    show("domain", lambda: c.lookupByName(name))
    show("network", lambda: c.networkLookupByName(name))
    show("pool", lambda: c.storagePoolLookupByName(name))
    show("interface", lambda: c.interfaceLookupByName(name))
    show("device", lambda: c.nodeDeviceLookupByName(name))
show("domain", lambda: c.lookupByID(77))
show("domain", lambda: c.lookupByUUIDString("11111111-2222-3333-4444-000000000000"))
show("network", lambda: c.networkLookupByUUIDString("11111111-2222-3333-4444-000000000000"))
show("pool", lambda: c.storagePoolLookupByUUIDString("11111111-2222-3333-4444-000000000000"))
show("volume", lambda: c.storageVolLookupByKey("/nothing"))
show("volume", lambda: c.storageVolLookupByPath("/nothing"))
show("interface", lambda: c.interfaceLookupByMACString("00:00:00:00:00:00"))
show("snapshot", lambda: d.snapshotLookupByName("none"))
show("snapshot", lambda: d.snapshotCurrent())
show("checkpoint", lambda: d.checkpointLookupByName("none"))

for call in [c.numOfSecrets, c.listAllSecrets, c.listAllNWFilters, d.jobInfo, d.jobStats, d.guestInfo, d.abortJob]:
    show(call.__name__, call)
show("leases", lambda: c.networkLookupByName("default").DHCPLeases())
show("peek", lambda: d.blockPeek("vda", 0, 10))
show("suspend", lambda: c.suspendForDuration(0, 100))
show("devices", lambda: c.listAllDevices(0x80000000))

head = "<domain type='test'><name>x</name>"
os = "<os><type>hvm</type></os></domain>"
for xml in [
    "<x/>",
    "<domain/>",
    "<domain type='test'/>",
    head + "</domain>",
    head + os,
    head + "<memory>abc</memory>" + os,
    head + "<memory>100</memory><vcpu>x</vcpu>" + os,
    head + "<memory>100</memory><vcpu current='5'>2</vcpu>" + os,
    head + "<uuid>zz</uuid><memory>100</memory>" + os,
    head + "<memory>100</memory><os><type>hvm</type></os><devices><disk/></devices></domain>",
    "<domain type='test'><name>test</name><uuid>11111111-2222-3333-4444-000000000000</uuid><memory>1</memory>" + os,
]:
    show(xml, lambda: c.defineXML(xml))
show("network", lambda: c.networkDefineXML("<network/>"))
for xml in [
    "<pool/>",
    "<pool type='dir'/>",
    "<pool type='dir'><name>x</name></pool>",
    "<pool type='strange'><name>x</name></pool>",
]:
    show(xml, lambda: c.storagePoolDefineXML(xml))
p = c.storagePoolLookupByName("default-pool")
for xml in [
    "<volume/>",
    "<volume><name>x</name></volume>",
    "<volume><name>x</name><capacity unit='furlong'>1</capacity></volume>",
    "<volume><name>x</name><capacity unit='PiB'>1</capacity></volume>",
    "<volume><name>x</name><capacity>100</capacity></volume>",
]:
    show(xml, lambda: p.createXML(xml).XMLDesc())
show("volume", lambda: p.storageVolLookupByName("y"))
show("volume", lambda: p.storageVolLookupByName("x").info())
for xml in ["<interface/>", "<interface type='ethernet'/>"]:
    show(xml, lambda: c.interfaceDefineXML(xml))
for kind, spec in [("dir", None), ("netfs", "<source><host name='h'/></source>"), ("netfs", None), ("logical", None)]:
    show(kind, lambda: c.findStoragePoolSources(kind, spec))

show("running", lambda: d.create())
show("not paused", lambda: d.resume())
show("too many", lambda: d.setVcpus(9))
show("too much", lambda: d.setMemory(1 << 40))
show("range", lambda: c.networkLookupByName("default").update(4, 5, 0, "<range start='1.1.1.1' end='1.1.1.2'/>"))
show("statistics", lambda: [record for _, record in c.getAllDomainStats()])
show("memory", lambda: d.memoryStats())
show("file systems", lambda: d.fsInfo())
show("addresses", lambda: d.interfaceAddresses(0))
show("disk errors", lambda: d.diskErrors())
show("cpu", lambda: (d.getCPUStats(True), d.getCPUStats(False)))
for group in [d.blkioParameters, d.memoryParameters, d.numaParameters, d.schedulerParameters, d.perfEvents]:
    show(group.__name__, group)

show("snapshot", lambda: d.snapshotCreateXML("<domainsnapshot><name>a</name></domainsnapshot>").getName())
show("snapshot", lambda: d.snapshotCreateXML("<domainsnapshot><name>a</name></domainsnapshot>"))
show("parent", lambda: d.snapshotLookupByName("a").getParent())
show("checkpoint", lambda: d.checkpointCreateXML("<domaincheckpoint><name>a</name></domaincheckpoint>"))
show("names", lambda: d.snapshotListNames())

# Events, in the order in which they come.
seen = []
c.domainEventRegisterAny(None, 0, lambda _c, dom, event, detail, _: seen.append((dom.name(), event, detail)), None)
c.networkEventRegisterAny(None, 0, lambda _c, net, event, detail, _: seen.append((net.name(), event, detail)), None)
c.storagePoolEventRegisterAny(None, 0, lambda _c, pool, event, detail, _: seen.append((pool.name(), event, detail)), None)
c.storagePoolEventRegisterAny(None, 1, lambda _c, pool, _: seen.append((pool.name(), "refresh")), None)
c.domainEventRegisterAny(None, 23, lambda _c, dom, kind, uri, _: seen.append((dom.name(), kind, uri)), None)
d.suspend()
d.resume()
d.setMetadata(1, "a title", None, None)
d.destroy()
show("undefine", lambda: d.undefine())
d.create()
net = c.networkLookupByName("default")
net.destroy()
net.create()
p.refresh()
p.destroy()
p.create()
other = c.createXML("<domain type='test'><name>other</name><memory>1</memory>" + os)
other.destroy()
while not seen or seen[-1][0] != "other" or len([each for each in seen if each[0] == "other"]) < 2:
    libvirt.virEventRunDefaultImpl()
for each in seen:
    print("event", each)
print("closed", c.close())
