using System.Text;
using Kvm.Devices.Bus;
using Kvm.Devices.Memory;
using Kvm.Vmm.Bare;
using Kvm.X86.Paging;

namespace Kvm.Labs.Machine;

/// <summary>
/// What a lab's program finds around its processor: memory, a console, a port that ends the run, and what the lab adds. Keeps account of
/// every exit. Everything a program can make grow has a limit.
/// </summary>
internal sealed class LabBoard : IBareBoard, IDisposable
{
    /// <summary>Bytes of memory, from address 0.</summary>
    public const int MemorySize = 4 << 20;

    /// <summary>First port of the console, a 16550 that only sends (register 0: data; 5: line status, always ready).</summary>
    public const ushort Console = 0x3f8;

    /// <summary>Writing here ends the run; the value says how.</summary>
    public const ushort ExitPort = 0xf4;

    /// <summary>A page of registers that remember what is written to them: memory-mapped, not memory.</summary>
    public const ulong Registers = 0xd000_0000;

    /// <summary>Exits kept; more are counted.</summary>
    public const int MostExits = 20_000;

    private const int MostConsole = 64 << 10;
    private const byte LineReady = 0x60;

    private readonly Queue<Action<IBareEngine, int>> _between = [];
    private readonly List<BareExit> _exits = [];
    private readonly List<string> _notes = [];
    private readonly List<IDisposable> _owned = [];
    private readonly StringBuilder _console = new();
    private readonly byte[] _registers = new byte[GuestMemory.PageSize];

    /// <summary>Puts the devices on their buses.</summary>
    /// <param name="memory">The machine's memory.</param>
    public LabBoard(GuestMemory memory)
    {
        Memory = memory;
        Ports.Add(Console, 8, new LabDevice((offset, _) => offset == 5 ? LineReady : 0UL, (offset, _, value) =>
        {
            if (offset == 0)
                Print((byte)value);
        }));
        Ports.Add(ExitPort, 4, new LabDevice(null, (_, _, value) => End((uint)value)));
        Mmio.Add(Registers, (ulong)_registers.Length, new LabDevice(ReadRegister, WriteRegister));
    }

    /// <summary>The machine's memory.</summary>
    public GuestMemory Memory { get; }

    /// <inheritdoc/>
    public IoBus Ports { get; } = new();

    /// <inheritdoc/>
    public IoBus Mmio { get; } = new();

    /// <summary>Answers RDMSR of the lab's registers; null: none.</summary>
    public Func<uint, ulong?>? ReadMsr { get; set; }

    /// <summary>Takes WRMSR of the lab's registers; false raises #GP(0).</summary>
    public Func<uint, ulong, bool>? WriteMsr { get; set; }

    /// <summary>The exits so far, oldest first.</summary>
    public IReadOnlyList<BareExit> Exits => _exits;

    /// <summary>Exits that were only counted.</summary>
    public long ExitsDropped { get; private set; }

    /// <summary>What was said about the run besides its exits.</summary>
    public IReadOnlyList<string> Notes => _notes;

    /// <summary>What the program printed.</summary>
    public string ConsoleText => _console.ToString();

    /// <summary>What the program ended itself with, or null.</summary>
    public uint? EndValue { get; private set; }

    /// <summary>Told of each exit as it happens, or null.</summary>
    public Action<BareExit>? Watcher { get; set; }

    /// <summary>Remembers something for the report.</summary>
    public void Note(string text)
    {
        if (_notes.Count < 1000)
            _notes.Add(text);
    }

    /// <summary>Has something done behind the instruction in hand, when the processor's registers can be read and changed.</summary>
    public void Later(Action<IBareEngine, int> action) => _between.Enqueue(action);

    /// <summary>Has something disposed with the board.</summary>
    public void Own(IDisposable part) => _owned.Add(part);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var part in _owned)
            part.Dispose();
    }

    /// <summary>Ends the run.</summary>
    public void End(uint value) => EndValue ??= value;

    /// <inheritdoc/>
    public bool TryReadMsr(uint index, out ulong value)
    {
        var answer = ReadMsr?.Invoke(index);
        value = answer ?? 0;
        return answer is not null;
    }

    /// <inheritdoc/>
    public bool TryWriteMsr(uint index, ulong value) => WriteMsr?.Invoke(index, value) ?? false;

    /// <inheritdoc/>
    public void Exited(in BareExit exit)
    {
        if (_exits.Count < MostExits)
            _exits.Add(exit);
        else
            ExitsDropped++;
        Watcher?.Invoke(exit);
    }

    /// <summary>Names the place of an instruction, for notes.</summary>
    public Func<ulong, string> PlaceOf { get; set; } = rip => $"0x{rip:x}";

    /// <inheritdoc/>
    public void ShadowChanged(ulong rip, ShadowStatistics change)
    {
        List<string> parts = [];
        if (change.Fills > 0)
            parts.Add($"{change.Fills} filled from the guest's tables");
        if (change.WriteProtectHits > 0)
            parts.Add("a guarded table of the guest was written");
        if (change.Dropped > 0)
            parts.Add($"{change.Dropped} dropped");
        Note($"{PlaceOf(rip)}: shadow entries: {string.Join(", ", parts)}");
    }

    /// <inheritdoc/>
    public bool Between(IBareEngine engine, int vcpu)
    {
        while (_between.TryDequeue(out var action))
            action(engine, vcpu);
        return EndValue is not null;
    }

    /// <summary>Appends to the console, as the serial port does.</summary>
    public void Print(byte character)
    {
        if (_console.Length < MostConsole)
            _console.Append((char)character);
    }

    private ulong ReadRegister(uint offset, int width)
    {
        ulong value = 0;
        for (int i = Math.Min(width, _registers.Length - (int)offset) - 1; i >= 0; i--)
            value = value << 8 | _registers[offset + i];
        return value;
    }

    private void WriteRegister(uint offset, int width, ulong value)
    {
        for (int i = 0; i < width && offset + i < _registers.Length; i++)
            _registers[offset + i] = (byte)(value >> (8 * i));
    }
}
