using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using Kvm.Boot.Tests;
using Kvm.Vmm;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;
using Kvm.Vmm.Snapshots.Templates;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Benchmarks;

/// <summary>
/// Snapshots of machines: a guest of 512 MiB restored to its first instruction beside one that is made, clones of a template, first touches of pages that come lazily, the downtime of
/// increments. Lines for <c>scripts/bench snapshot</c>.
/// </summary>
internal static class RestoreRates
{
    private const ulong MemoryBytes = 512UL << 20;
    private const uint Flag = 0x20_0000, Counter = 0x20_1000, Pages = 0x100_0000;
    private const int MostPages = 10_000, Filled = 200 << 20, Clones = 100;

    /// <summary>Counts; when it is told how many, writes to so many pages, and says so.</summary>
    private static readonly byte[] s_kernel = TinyKernel.Assemble(a =>
    {
        var count = a.CreateLabel();
        var write = a.CreateLabel();
        a.Label(ref count);
        a.inc(__dword_ptr[Counter]);
        a.mov(ecx, __dword_ptr[Flag]);
        a.test(ecx, ecx);
        a.jz(count);
        a.mov(edi, Pages);
        a.Label(ref write);
        a.mov(__dword_ptr[edi], ecx);
        a.add(edi, 0x1000);
        a.dec(ecx);
        a.jnz(write);
        a.mov(__dword_ptr[Flag], 0);
        a.jmp(count);
    });

    public static void Print(string folder, string program, string engine, int runs)
    {
        folder = Path.Combine(folder, "restore-rates");
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
        Directory.CreateDirectory(folder);
        string kernel = Path.Combine(folder, "kernel");
        File.WriteAllBytes(kernel, s_kernel);
        var config = new VmConfig { KernelPath = kernel, MemoryBytes = MemoryBytes, Engine = engine == "kvm" ? EngineChoice.Kvm : EngineChoice.Soft };
        var store = SnapshotStore.Open(Path.Combine(folder, "store"));
        Save(config, store);
        using (var reader = store.Read("full"))
        {
            using var template = Template.Make(reader, 2);
            PrintRestores(config, reader, template, program, runs);
            PrintClones(config, template);
            PrintTouches(config, reader, program);
        }

        foreach (int pages in (ReadOnlySpan<int>)[1000, MostPages])
            PrintIncrement(config, store, pages);
        Directory.Delete(folder, recursive: true);
    }

    private static void Save(VmConfig config, SnapshotStore store)
    {
        using var machine = VirtualMachine.Build(config, new VmHost());
        // What a guest that has booted has in memory: 200 MiB that are neither zeros nor twice there.
        byte[] chunk = new byte[SnapshotFormat.ChunkSize];
        var random = new Random(1);
        for (ulong at = 0; at < Filled; at += (ulong)chunk.Length)
        {
            random.NextBytes(chunk.AsSpan(0, chunk.Length / 2));
            machine.Memory.TryWrite(0x800_0000 + at, chunk);
        }

        machine.Start();
        Await(machine, Counter, 0);
        machine.Pause();
        machine.TakeSnapshot(store, "full");
    }

    private static void PrintRestores(VmConfig config, SnapshotReader reader, Template template, string program, int runs)
    {
        var host = new VmHost();
        List<double> made = [], mapped = [], lazy = [];
        for (int i = -3; i < runs; i++)
        {
            double one = ToFirstInstruction(() => VirtualMachine.Build(config, host));
            double two = ToFirstInstruction(() => VirtualMachine.Restore(config, host, template));
            double three = ToFirstInstruction(() => VirtualMachine.Restore(config, host, reader, new RestoreOptions { Pager = program }));
            if (i < 0)
                continue;
            made.Add(one);
            mapped.Add(two);
            lazy.Add(three);
        }

        foreach (var (row, times) in ((string, List<double>)[])[("create", made), ("template", mapped), ("lazy", lazy)])
        {
            times.Sort();
            Say($"first {row} {times[times.Count / 2]:0.00} {times[times.Count * 99 / 100]:0.00}");
        }
    }

    private static double ToFirstInstruction(Func<VirtualMachine> make)
    {
        long began = Stopwatch.GetTimestamp();
        using var machine = make();
        uint before = Read(machine, Counter);
        machine.Start();
        while (Read(machine, Counter) == before)
            Thread.Yield();
        return Stopwatch.GetElapsedTime(began).TotalMilliseconds;
    }

    private static void PrintClones(VmConfig config, Template template)
    {
        var clones = new List<VirtualMachine>();
        double took = 0;
        long before = 0;
        for (int i = 0; i < Clones; i++)
        {
            if (i == Clones - 11)
                before = PrivateBytes();
            long began = Stopwatch.GetTimestamp();
            var clone = VirtualMachine.Restore(config, new VmHost(), template, new RestoreOptions { IsClone = true });
            clones.Add(clone);
            clone.Start();
            uint count = Read(clone, Counter);
            while (Read(clone, Counter) == count)
                Thread.Yield();
            took = Stopwatch.GetElapsedTime(began).TotalMilliseconds;
            clone.Pause();
        }

        Say($"clone {took:0.00} {(PrivateBytes() - before) / 11 / 1024}");
        foreach (var clone in clones)
            clone.Dispose();
    }

    private static void PrintTouches(VmConfig config, SnapshotReader reader, string program)
    {
        var times = new List<double>();
        var random = new Random(2);
        for (int run = 0; run < 20; run++)
        {
            using var machine = VirtualMachine.Restore(config, new VmHost(), reader, new RestoreOptions { Pager = program });
            machine.Memory.TryRead(0x800_0000, new byte[8]);
            for (int i = 0; i < 100; i++)
            {
                // From the end on: what the background has not brought yet.
                ulong at = 0x800_0000 + Filled - ((ulong)(1 + i * 2 + random.Next(2)) * SnapshotFormat.ChunkSize);
                long began = Stopwatch.GetTimestamp();
                Touch(machine, at);
                times.Add(Stopwatch.GetElapsedTime(began).TotalMicroseconds);
            }
        }

        times.Sort();
        Say($"touch {times[times.Count / 2]:0} {times[times.Count * 99 / 100]:0}");
    }

    private static void Touch(VirtualMachine machine, ulong at)
    {
        Span<byte> bytes = stackalloc byte[4];
        machine.Memory.TryRead(at, bytes);
    }

    private static void PrintIncrement(VmConfig config, SnapshotStore store, int pages)
    {
        var downtimes = new List<double>();
        long stored = 0;
        for (int run = 0; run < 5; run++)
        {
            using var machine = VirtualMachine.Build(config, new VmHost());
            // Other bytes in each run, and none that pack: what the store has already is not stored again.
            var random = new Random((pages * 10) + run);
            byte[] page = new byte[SnapshotFormat.PageSize];
            for (uint i = 0; i <= pages; i++)
            {
                random.NextBytes(page);
                machine.Memory.TryWrite(Pages + (i * SnapshotFormat.PageSize), page);
            }

            machine.Start();
            var options = new SnapshotTakeOptions { Incremental = true };
            machine.TakeSnapshot(store, $"base-{pages}-{run}", options);
            byte[] told = new byte[4];
            BinaryPrimitives.WriteInt32LittleEndian(told, pages);
            machine.Memory.TryWrite(Flag, told);
            while (Read(machine, Flag) != 0)
                Thread.Yield();
            var taken = machine.TakeSnapshot(store, $"more-{pages}-{run}", options);
            downtimes.Add(taken.Downtime.TotalMilliseconds);
            stored = taken.StoredBytes;
        }

        downtimes.Sort();
        Say($"increment {pages} {downtimes[2]:0.00} {stored / 1024}");
    }

    private static void Await(VirtualMachine machine, uint address, uint above)
    {
        while (Read(machine, address) <= above)
            Thread.Yield();
    }

    private static uint Read(VirtualMachine machine, uint address)
    {
        Span<byte> bytes = stackalloc byte[4];
        machine.Memory.TryRead(address, bytes);
        return BinaryPrimitives.ReadUInt32LittleEndian(bytes);
    }

    /// <summary>Memory that is this process's alone.</summary>
    private static long PrivateBytes() => File.ReadLines("/proc/self/smaps_rollup").Where(line => line.StartsWith("Private_", StringComparison.Ordinal))
        .Sum(line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture)) * 1024;

    private static void Say(FormattableString line) => Console.WriteLine(line.ToString(CultureInfo.InvariantCulture));
}
