using System.Diagnostics;
using System.Globalization;
using Kvm.Boot.Tests;
using Kvm.Interop;
using Kvm.Sched;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Scheduling;

namespace Kvm.Benchmarks;

/// <summary>Real guests under policies, with KVM, in user mode: what <c>scripts/bench sched</c> prints of them. A line a number.</summary>
internal static class SchedGuests
{
    private const long Rounds = 700_000_000;
    private const int Pairs = 5;

    /// <summary>Computes for ever in kernel mode.</summary>
    private static readonly byte[] s_kernelSpin = TinyKernel.Assemble(a =>
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.inc(Iced.Intel.AssemblerRegisters.ecx);
        a.jmp(again);
    });

    private static readonly int[] s_cpus = HostThread.GetAffinity(0);

    public static void Print()
    {
        PrintRevoke("user", UserKernel.Spin(), realTime: true);
        PrintRevoke("user", UserKernel.Spin(), realTime: false);
        PrintRevoke("kernel", s_kernelSpin, realTime: true);
        PrintShares("rr", [1, 1, 1]);
        PrintShares("rap", [1, 2, 3]);
        PrintGatingCost();
        PrintKernel("plain", 0);
        PrintKernel("nice 5", 5);
    }

    /// <summary>Two spinning guests for each CPU under rr, each CPU also loaded by an ordinary process.</summary>
    private static void PrintRevoke(string mode, byte[] kernel, bool realTime)
    {
        var load = s_cpus.Select(cpu => Process.Start(new ProcessStartInfo("taskset", ["-c", $"{cpu}", "sh", "-c", "while :; do :; done"]))!).ToList();
        try
        {
            using var guests = new Guests("rr", s_cpus, 10_000_000, realTime);
            for (int i = 0; i < s_cpus.Length * 2; i++)
                guests.Start($"g{i}", kernel);
            var view = guests.Until(v => v.RevokeLatency.Count >= 400);
            var (count, _, p50, p99, longest) = view.RevokeLatency;
            Say($"revoke {count} {p50 / 1e6:0.000} {p99 / 1e6:0.000} {longest / 1e6:0.000} {mode} {(guests.RealTime ? "real-time" : "ordinary")}");
        }
        finally
        {
            foreach (var process in load)
            {
                process.Kill();
                process.Dispose();
            }
        }
    }

    /// <summary>Guests on one CPU until a second of it was given away: the largest difference from what was due, as a part of that.</summary>
    private static void PrintShares(string policy, double[] weights)
    {
        using var guests = new Guests(policy, [s_cpus[0]], 4_000_000);
        for (int i = 0; i < weights.Length; i++)
            guests.Start($"g{i}", UserKernel.Spin(), new JobSpec { Weight = weights[i] });
        long[] before = guests.Ran();
        guests.Until(_ => guests.Ran().Sum() - before.Sum() >= 1_000_000_000);
        long[] ran = [.. guests.Ran().Zip(before, (now, then) => now - then)];
        double all = ran.Sum(), weight = weights.Sum(), error = 0;
        for (int i = 0; i < ran.Length; i++)
            error = Math.Max(error, Math.Abs(ran[i] / all / (weights[i] / weight) - 1));
        Say($"share {policy} {string.Join(':', weights)} {error * 100:0.00}");
    }

    /// <summary>Two guests of so many rounds on one CPU, under rr with 10 ms and under host, by turns: rounds a second, and CPU time a round.</summary>
    private static void PrintGatingCost()
    {
        List<double> wall = [], cpu = [];
        // The runtime compiles what runs for the first time.
        Race("rr");
        for (int i = 0; i < Pairs; i++)
        {
            var (gatedWall, gatedCpu) = Race("rr");
            var (hostWall, hostCpu) = Race("host");
            wall.Add((gatedWall / hostWall - 1) * 100);
            cpu.Add((gatedCpu / hostCpu - 1) * 100);
        }

        Say($"gating {Median(wall):0.00} {Median(cpu):0.00} {Pairs}");
    }

    private static (double Wall, double Cpu) Race(string policy)
    {
        using var guests = new Guests(policy, [s_cpus[0]], 10_000_000);
        long start = HostClock.Monotonic();
        guests.Start("a", UserKernel.Count(Rounds));
        guests.Start("b", UserKernel.Count(Rounds));
        double cpu = guests.WaitForAll();
        return (HostClock.Monotonic() - start, cpu);
    }

    /// <summary>Two plain processes on one CPU under the kernel's own scheduler, as the same numbers.</summary>
    private static void PrintKernel(string name, int nice)
    {
        var one = Process.Start(new ProcessStartInfo("taskset", ["-c", $"{s_cpus[0]}", "nice", "-n", "0", "sh", "-c", "while :; do :; done"]))!;
        var other = Process.Start(new ProcessStartInfo("taskset", ["-c", $"{s_cpus[0]}", "nice", "-n", $"{nice}", "sh", "-c", "while :; do :; done"]))!;
        using var pause = new ManualResetEventSlim();
        double first = 0, second = 0, from1 = -1, from2 = 0;
        while (first + second < 1000)
        {
            pause.Wait(20);
            if (from1 < 0)
                (from1, from2) = (Ms(one), Ms(other));
            (first, second) = (Ms(one) - from1, Ms(other) - from2);
        }

        one.Kill();
        other.Kill();
        Say($"kernel {name.Replace(' ', '-')} {first / (first + second) * 100:0.0} {second / (first + second) * 100:0.0}");

        static double Ms(Process process)
        {
            process.Refresh();
            return process.TotalProcessorTime.TotalMilliseconds;
        }
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static void Say(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));

    /// <summary>Guests under one policy, in this process.</summary>
    private sealed class Guests(string policy, int[] cpus, long slice, bool realTime = true) : IDisposable
    {
        private readonly Dispatcher _dispatcher = new(new DispatcherSettings
        {
            Policy = policy,
            Rules = new PolicySettings { Slice = slice },
            Topology = HostTopology.Read(cpus),
            Slots = 64,
            RealTime = realTime,
        });

        private readonly List<(VirtualMachine Machine, DispatcherPlace Place)> _all = [];
        private readonly List<string> _files = [];

        public bool RealTime => _dispatcher.NoRealTime is null;

        public void Start(string name, byte[] kernel, JobSpec? job = null)
        {
            string path = Path.GetTempFileName();
            File.WriteAllBytes(path, kernel);
            _files.Add(path);
            var place = _dispatcher.Join(new SchedulingRequest { Name = name, Job = job ?? new JobSpec() }, null);
            var machine = VirtualMachine.Build(
                new VmConfig { KernelPath = path, MemoryBytes = 16 << 20, Engine = EngineChoice.Kvm }, new VmHost { Seats = place.Seats });
            _all.Add((machine, place));
            machine.Start();
            Until(view => view.Vms.All(vm => vm.Vcpus[0].State != "starting"));
        }

        public long[] Ran() => [.. _dispatcher.Look().Vms.Select(vm => vm.Vcpus[0].Ran)];

        public SchedulingView Until(Func<SchedulingView, bool> has)
        {
            using var pause = new ManualResetEventSlim();
            var view = _dispatcher.Look();
            for (; !has(view); view = _dispatcher.Look())
                pause.Wait(5);
            return view;
        }

        /// <summary>CPU time of all vCPUs in ms, once they have ended.</summary>
        public double WaitForAll() => _all.Sum(guest =>
        {
            var result = guest.Machine.Ended.GetAwaiter().GetResult();
            return result.Vcpus[0].CpuTime.TotalMilliseconds;
        });

        public void Dispose()
        {
            foreach (var (machine, place) in _all)
            {
                machine.Stop(VmOutcome.StoppedByUser);
                machine.Dispose();
                place.Dispose();
            }

            _dispatcher.Dispose();
            _files.ForEach(File.Delete);
        }
    }
}
