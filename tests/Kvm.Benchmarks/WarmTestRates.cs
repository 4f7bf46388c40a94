using System.Diagnostics;
using System.Globalization;
using Kvm.Testing;
using Kvm.Vmm;
using Kvm.Vmm.Virtio.Sockets;

namespace Kvm.Benchmarks;

/// <summary>What a test costs whose guest is warm: set back, and asked for a program (<c>scripts/bench testing</c>).</summary>
internal static class WarmTestRates
{
    private const int Runs = 15;

    /// <summary>Prints medians in ms, a line each.</summary>
    public static void Print() => PrintAsync().GetAwaiter().GetResult();

    private static async Task PrintAsync()
    {
        long start = Stopwatch.GetTimestamp();
        await using var guest = await Guest.StartAsync();
        double boot = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        await guest.CheckAsync("true");
        var snapshot = await guest.SnapshotAsync();
        var (restores, execs, tests, again) = (new List<double>(), new List<double>(), new List<double>(), new List<double>());
        for (int i = 0; i < Runs; i++)
        {
            start = Stopwatch.GetTimestamp();
            await guest.RestoreAsync(snapshot);
            double restored = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            await guest.CheckAsync("true");
            double whole = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            restores.Add(restored);
            execs.Add(whole - restored);
            tests.Add(whole);
            start = Stopwatch.GetTimestamp();
            await guest.CheckAsync("true");
            again.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }

        Say("engine", guest.Machine.EngineName);
        Say("boot", boot);
        Say("restore", Median(restores));
        Say("exec", Median(execs));
        Say("execAgain", Median(again));
        Say("test", Median(tests));
        Say("ours", Median([.. Enumerable.Range(0, Runs).Select(_ => Ours(guest, snapshot))]));
    }

    /// <summary>Building a machine from the state and giving it back, without a guest that runs: what no guest has a part in.</summary>
    private static double Ours(Guest guest, GuestSnapshot snapshot)
    {
        var vsock = new VsockConfig { Cid = 3, SocketPath = guest.SocketPath + ".ours" };
        long start = Stopwatch.GetTimestamp();
        using (VirtualMachine.Restore(guest.Machine.Config with { Vsock = vsock }, new VmHost(), snapshot.Machine))
        {
        }

        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static void Say(string name, double value) => Say(name, value.ToString("F1", CultureInfo.InvariantCulture));

    private static void Say(string name, string value) => System.Console.WriteLine($"{name} {value}");
}
