#!/usr/bin/perl
# Net::DBus as a registrar: see of_pydbus.py.
use strict;
use warnings;
use JSON::PP;
use Net::DBus;
use Net::DBus::Reactor;

my ($name, $leader) = @ARGV;
my $service = Net::DBus->system->get_service("org.freedesktop.machine1");
my $manager = $service->get_object("/org/freedesktop/machine1", "org.freedesktop.machine1.Manager");
my $reactor = Net::DBus::Reactor->main;
my @signals;
for my $signal ("MachineNew", "MachineRemoved") {
  $manager->connect_to_signal($signal, sub {
    return if $_[0] ne $name;
    push @signals, $signal;
    $reactor->shutdown if $signal eq "MachineRemoved";
  });
}
my $path = $manager->RegisterMachine($name, [0 .. 15], "clients", "container", $leader, "");
my $properties = $service->get_object($path, "org.freedesktop.DBus.Properties");
my ($told_name, $class, $of, $pid, $id) = map { $properties->Get("org.freedesktop.machine1.Machine", $_) } qw(Name Class Service Leader Id);
my %told = (
  listed => [sort map { $_->[0] } @{$manager->ListMachines}],
  found => $manager->GetMachineByPID($leader) eq $path ? JSON::PP::true : JSON::PP::false,
  machine => [$told_name, $class, $of, $pid + 0, join("", map { sprintf "%02x", $_ } @$id)],
);
$manager->UnregisterMachine($name);
$reactor->add_timeout(20000, sub { $reactor->shutdown });
$reactor->run;
eval { $manager->GetMachine($name) };
$told{error} = $@->name if $@;
$told{signals} = \@signals;
print JSON::PP->new->canonical->encode(\%told), "\n";
