using System.Diagnostics;
using System.Text;
using Iced.Intel;
using Kvm.X86.Engine;
using Kvm.X86.Interrupts;
using Kvm.X86.State;
using Kvm.X86.Tests.Programs;
using Kvm.X86.Tests.Translate;

namespace Kvm.X86.Tests.Hostile;

/// <summary>
/// Whole machines of random memory, page tables, descriptors and registers, each from one seed: run interpreted and translated side by
/// side and compared, then let loose and kicked; and several processors on one image at once.
/// </summary>
internal sealed unsafe class EngineFuzz(Journal? journal = null) : IDisposable
{
    private const int Runs = 24, Length = 400, Restarts = 12;
    private static readonly TimeSpan MostKickTime = TimeSpan.FromSeconds(10);
    private readonly FencedMemory _first = new(), _second = new();
    private readonly byte[] _image = new byte[FencedMemory.Size];
    private readonly ArchitecturalState _before = new();
    private readonly bool _translates = TestCodeMemory.Unavailable == null;

    /// <summary>Instructions retired in compared runs.</summary>
    public ulong Instructions { get; private set; }

    /// <summary>Blocks translated.</summary>
    public ulong Translations { get; private set; }

    /// <summary>Entries taken into shadow page tables.</summary>
    public long ShadowFills { get; private set; }

    /// <summary>Runs that parted where an instruction leaves flags undefined, which the tiers need not agree on.</summary>
    public int Undefined { get; private set; }

    /// <summary>Exits seen, by kind.</summary>
    public int[] Exits { get; } = new int[8];

    /// <summary>The longest time a kick took.</summary>
    public TimeSpan SlowestKick { get; private set; }

    /// <summary>Runs one case; what is wrong, or null.</summary>
    public string? Check(int seed)
    {
        journal?.Write(0, Encoding.ASCII.GetBytes($"seed {seed}          "));
        return Compare(seed) ?? LetLoose(seed, seed % 8 == 0 ? 2 : 1);
    }

    private string? Compare(int seed)
    {
        using HostileMachine a = new(_first, seed, 0, false, [null]), b = new(_second, seed, _translates ? 1 + (seed % 3) : 0, seed % 2 == 1, [null]);
        if (b.Processor.Context.Shadow is { } shadow)
            shadow.Immediate = true; // what it would keep until a flush, the other may not
        using Timer watchdog = new(_ =>
        {
            a.Processor.Kick();
            b.Processor.Kick();
        }, null, MostKickTime, MostKickTime);
        Restart(a, b);
        Random random = new(seed);
        for (int run = 0, restarts = 0; run < Runs; run++)
        {
            a.Bytes.CopyTo(_image);
            a.Processor.GetState(_before);
            ulong retired = a.Processor.Instructions, translated = b.Processor.Instructions;
            SoftExit expected = a.Processor.Run(Length), seen = b.Processor.Run(Length);
            if (expected == SoftExit.Kicked || seen == SoftExit.Kicked)
                return $"run {run} from {_before.Rip:x} does not come to its end ({expected}, {seen}, at {a.State.Rip:x}, CR0 {a.State.Cr0:x}, flags {a.State.Rflags:x}, DR7 {a.State.Dr7:x})";
            Exits[(int)expected]++;
            Instructions += a.Processor.Instructions - retired;
            if (a.Processor.Instructions - retired > Length)
                return $"{a.Processor.Instructions - retired} instructions instead of {Length}";
            string? difference = expected != seen ? $"exit {expected}, {seen}"
                : a.Processor.Instructions - retired != b.Processor.Instructions - translated ? "instructions retired"
                : StateDifference.Find(a.State, b.State) ?? MemoryDifference(a, b);
            if (difference != null && !Explained(seed))
                return $"run {run} from {_before.Rip:x}: {difference}";
            if (difference != null)
            {
                Undefined++;
                break;
            }

            if (expected != SoftExit.Limit || random.Next(6) == 0)
            {
                if (++restarts > Restarts)
                    break;
                Restart(a, b);
            }
        }

        Translations += b.Processor.Translations;
        ShadowFills += b.Processor.Shadow?.Fills ?? 0;
        return RomIntact(a, seed) && RomIntact(b, seed) ? null : "ROM was written";
    }

    /// <summary>Both from the same new state, on the memory they have.</summary>
    private static void Restart(HostileMachine a, HostileMachine b)
    {
        a.Processor.SetState(a.Guest.State());
        b.Processor.SetState(b.Guest.State());
    }

    private static string? MemoryDifference(HostileMachine a, HostileMachine b)
    {
        int at = a.Bytes.CommonPrefixLength(b.Bytes);
        return at == FencedMemory.Size ? null : $"memory at {at:x}: {a.Bytes[at]:x2}, {b.Bytes[at]:x2}";
    }

    private static bool RomIntact(HostileMachine machine, int seed)
    {
        byte[] expected = new byte[FencedMemory.RomSize];
        new Random(seed).NextBytes(expected);
        return machine.Rom.SequenceEqual(expected);
    }

    /// <summary>Steps through the run that parted: whether an instruction of it left flags undefined.</summary>
    private bool Explained(int seed)
    {
        using FencedMemory memory = new();
        using HostileMachine machine = new(memory, seed, 0, false, [null]);
        _image.CopyTo(machine.Bytes);
        machine.Processor.SetState(_before);
        for (int n = 0; n < Length; n++)
        {
            if (machine.Processor.Step() != SoftExit.Limit)
                return false;
            ref readonly var instruction = ref machine.Processor.Stepped;
            var undefined = instruction.RflagsUndefined;
            // After logic the tiers agree: AF is clear.
            if (instruction.Mnemonic is Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Test or Mnemonic.Andn)
                undefined &= ~RflagsBits.AF;
            if (undefined != RflagsBits.None)
                return true;
        }

        return false;
    }

    /// <summary>Runs without a limit on as many threads as processors, and kicks.</summary>
    private string? LetLoose(int seed, int processors)
    {
        ChipSet board = new(new ChipSetOptions { Clock = new HostGuestClock(), Memory = _first.Memory, Processors = processors });
        using HostileMachine machine = new(_first, seed, _translates ? 1 + (seed % 3) : 0, seed % 4 < 2, [.. board.Processors]);
        var ended = new SoftExit[processors];
        var failures = new Exception?[processors];
        var threads = new Thread[processors];
        using CountdownEvent started = new(processors);
        for (int n = 0; n < processors; n++)
        {
            int index = n;
            var processor = machine.Processors[n];
            board.Processors[n].Target = processor;
            processor.SetState(machine.Guest.State());
            threads[n] = new Thread(() =>
            {
                started.Signal();
                try
                {
                    ended[index] = processor.Run();
                }
                catch (Exception e)
                {
                    failures[index] = e;
                }
            });
            threads[n].Start();
        }

        started.Wait();
        foreach (var processor in machine.Processors)
            SpinWait.SpinUntil(() => processor.Instructions > 2000, 1);
        var clock = Stopwatch.StartNew();
        foreach (var processor in machine.Processors)
            processor.Kick();
        foreach (var thread in threads)
        {
            if (!thread.Join(MostKickTime))
                Environment.FailFast($"seed {seed}: a kick is not obeyed"); // the memory cannot be taken from under it
        }

        SlowestKick = clock.Elapsed > SlowestKick ? clock.Elapsed : SlowestKick;
        foreach (var exit in ended)
            Exits[(int)exit]++;
        return failures.FirstOrDefault(e => e != null) is { } failure ? $"host exception {failure}" : RomIntact(machine, seed) ? null : "ROM was written";
    }

    public void Dispose()
    {
        _first.Dispose();
        _second.Dispose();
    }
}
