using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Kvm.Interop.Slirp;
using Kvm.Vmm;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Model;
using Kvm.Vmm.Reporting;

namespace Kvm.Boot.Tests;

/// <summary>Linux guests of a network as a model: addresses, names, rules, a service, the way out.</summary>
public sealed class NetworkModelTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    private readonly string _file = Path.GetTempFileName();

    public void Dispose() => File.Delete(_file);

    /// <summary>
    /// One serves what it fetched from the host, to the host too by a published port; the other reaches it by its name and by the address of a service, one of whose machines is not there, and neither the
    /// host nor a port that no rule allows.
    /// </summary>
    [SkippableFact]
    public void Guests_get_addresses_resolve_names_and_reach_what_rules_allow_and_a_service_and_nothing_else()
    {
        GuestFiles.Require("small/vmlinux");
        Skip.IfNot(SlirpStack.IsInstalled, "libslirp.so.0 is not installed");
        byte[] content = RandomNumberGenerator.GetBytes(300_000);
        using var server = new FileServer(new IPEndPoint(IPAddress.Loopback, 0), content);
        string name = string.Create(CultureInfo.InvariantCulture, $"test-{Environment.ProcessId}"), host = $"http://10.77.0.1:{server.Port}/file";
        int published = FreePort();
        File.WriteAllText(_file, $$"""
            {
              "name": "{{name}}", "subnet": "10.77.0.0/24", "uplink": "user", "domain": "lab",
              "machines": [
                { "name": "web1", "labels": ["web"], "address": "10.77.0.11" },
                { "name": "db1", "labels": ["db"], "address": "10.77.0.21" },
                { "name": "db2", "labels": ["db"], "address": "10.77.0.22" }
              ],
              "rules": [ "allow from label=web to label=db tcp/80", "allow from label=db to uplink", "allow from uplink to vm=db1 tcp/80" ],
              "services": [ { "name": "shop", "address": "10.77.0.50", "port": "tcp/8080", "target_port": 80, "backends": "label=db" } ],
              "publish": [ { "host": "{{published}}", "to": "db1", "port": "tcp/80" } ],
              "allow_host": ["{{server.Port}}"]
            }
            """);
        using var network = RunningNetwork.Serve(NetworkModel.Load(_file), message => throw new InvalidOperationException(message), null);
        LinuxRun? web = null;
        Exception? failure = null;
        using var serves = new ManualResetEventSlim();
        var db = Boot("db1", $"kvmsharp.fetch={host} kvmsharp.refused=http://web1.lab/file",
            vm =>
            {
                WaitHandle.WaitAny([serves.WaitHandle, ((IAsyncResult)vm.Ended).AsyncWaitHandle]);
                failure = Record.Exception(() => web = Boot("web1",
                    $"kvmsharp.resolve=db1.lab kvmsharp.fetch=http://db1.lab/file kvmsharp.fetch=http://shop.lab:8080/file kvmsharp.refused={host} kvmsharp.refused=http://db1.lab:81/file",
                    vm => { }, ("GUEST-SERVES", vm => vm.SendConsoleInput("end\n"u8))));
                failure ??= Record.Exception(() => FileServer.Fetch(new IPEndPoint(IPAddress.Loopback, published)).AsSpan().SequenceEqual(content).Should().BeTrue());
                vm.SendConsoleInput("end\n"u8);
            },
            ("GUEST-SERVES", _ => serves.Set()));
        failure.Should().BeNull(db.Tail);
        string fetched = $"GUEST-FETCHED {Convert.ToHexStringLower(SHA256.HashData(content))}";
        db.Console.Should().Contain("GUEST-ADDRESS eth0 10.77.0.21/24", db.Tail).And.Contain(fetched).And.Contain("GUEST-REFUSED http://web1.lab").And.NotContain("GUEST-FAILED");
        web!.Console.Should().Contain("GUEST-ADDRESS eth0 10.77.0.11/24", web.Tail).And.Contain("10.77.0.21").And.Contain("GUEST-RESOLVED")
            .And.Contain($"GUEST-REFUSED {host}").And.Contain("GUEST-REFUSED http://db1.lab:81").And.NotContain("GUEST-FAILED");
        web.Console.Split(fetched).Should().HaveCount(3, "by its name and by the service's");
        (db.Result.Outcome, web.Result.Outcome).Should().Be((VmOutcome.PowerOff, VmOutcome.PowerOff));
        var counters = network.Counters.ToDictionary(c => c.Name, c => c.Value);
        counters["allow from label=web to label=db tcp/80"].Should().BePositive();
        counters["allow from label=db to uplink"].Should().BePositive();
        counters["allow from uplink to vm=db1 tcp/80"].Should().BePositive("the host fetched it too");
        counters["default"].Should().BePositive("what no rule is about was tried");
        (counters["leases"], counters["serviceFlows"], counters["spoofed"], counters["dhcpMalformed"], counters["dnsMalformed"]).Should().Match<(long Leases, long Flows, long, long, long)>(
            c => c.Leases >= 2 && c.Flows >= 1 && c.Item3 == 0 && c.Item4 == 0 && c.Item5 == 0);
    }

    /// <summary>In a network of the test's own, where the host routes: the model's way out is an interface of it.</summary>
    [SkippableFact]
    public void Guest_gets_its_address_and_goes_by_tap_where_rules_allow_it_both_ways()
    {
        GuestFiles.Require("small/vmlinux");
        NetworkNamespace.SkipWithoutTap();
        NetworkNamespace.Run(() =>
        {
            NetworkNamespace.Ip("tuntap add dev model0 mode tap");
            NetworkNamespace.Ip("addr add 10.78.0.1/24 dev model0");
            NetworkNamespace.Ip("link set model0 up");
            byte[] content = RandomNumberGenerator.GetBytes(300_000);
            using var allowed = new FileServer(new IPEndPoint(IPAddress.Parse("10.78.0.1"), 0), content);
            using var forbidden = new FileServer(new IPEndPoint(IPAddress.Parse("10.78.0.1"), 0), content);
            string name = string.Create(CultureInfo.InvariantCulture, $"tap-{Environment.ProcessId}");
            File.WriteAllText(_file, $$"""
                {
                  "name": "{{name}}", "subnet": "10.78.0.0/24", "uplink": "tap=model0",
                  "machines": [ { "name": "web1", "address": "10.78.0.11" } ],
                  "rules": [ "allow from vm=web1 to uplink tcp/{{allowed.Port}}", "allow from uplink to vm=web1 tcp/80" ]
                }
                """);
            using var network = RunningNetwork.Serve(NetworkModel.Load(_file), message => throw new InvalidOperationException(message), null);
            Exception? failure = null;
            using var serves = new ManualResetEventSlim();
            var run = Boot("web1", $"kvmsharp.fetch=http://10.78.0.1:{allowed.Port}/file kvmsharp.refused=http://10.78.0.1:{forbidden.Port}/file",
                vm =>
                {
                    WaitHandle.WaitAny([serves.WaitHandle, ((IAsyncResult)vm.Ended).AsyncWaitHandle]);
                    // On the test's thread, which is in the test's network.
                    failure = Record.Exception(() => FileServer.Fetch(new IPEndPoint(IPAddress.Parse("10.78.0.11"), 80)).AsSpan().SequenceEqual(content).Should().BeTrue());
                    vm.SendConsoleInput("end\n"u8);
                },
                ("GUEST-SERVES", _ => serves.Set()));
            failure.Should().BeNull(run.Tail);
            run.Console.Should().Contain("GUEST-ADDRESS eth0 10.78.0.11/24", run.Tail).And.Contain($"GUEST-FETCHED {Convert.ToHexStringLower(SHA256.HashData(content))}")
                .And.Contain($"GUEST-REFUSED http://10.78.0.1:{forbidden.Port}/file").And.NotContain("GUEST-FAILED");
            run.Result.Outcome.Should().Be(VmOutcome.PowerOff, run.Tail);
            network.Counters.ToDictionary(c => c.Name, c => c.Value)["default"].Should().BePositive("what no rule is about was tried");
        });
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private LinuxRun Boot(string name, string tasks, Action<VirtualMachine> meanwhile, params (string, Action<VirtualMachine>)[] when) =>
        LinuxGuest.Boot("small/vmlinux", EngineChoice.Soft, "net", s_limit,
            c => c with { Name = name, Networks = [new NetConfig { Kind = NetKind.Switch, Model = _file }], Append = $"{c.Append} ip=dhcp {tasks}" }, meanwhile, when);
}
