using Kvm.X86.Engine;
using Kvm.X86.Execute;
using Kvm.X86.Execute.Fpu;
using Kvm.X86.State;
using Kvm.X86.Tests.Engine;
using Kvm.X86.Tests.Native;

namespace Kvm.X86.Tests.Programs;

/// <summary>
/// Runs programs in the engine at the addresses of <see cref="NativeProgram"/>, in user mode, with nothing mapped but the program's
/// pages: instruction by instruction, or as blocks with their hot handlers. A program ends as on the host, so that programs which read
/// their own page read the same there: by a jump through a page that is not mapped here.
/// </summary>
internal sealed unsafe class EngineProgram : IDisposable
{
    // The scratch pages' frames are out of order: what crosses a page must not go on in the next frame.
    private static readonly ulong[] Frames = [0x302000, 0x300000, 0x301000];

    private readonly EngineRig _rig = new();
    private readonly CodePages _pages;
    private readonly CodeCache _cache;
    private readonly Timer _watchdog;

    public EngineProgram()
    {
        var state = EngineRig.LongMode();
        state.Segments[Seg.Cs] = new SegmentRegister { Selector = 0x2b, Limit = uint.MaxValue, Attributes = 0xafb };
        foreach (int n in new[] { Seg.Ss, Seg.Ds, Seg.Es })
            state.Segments[n] = new SegmentRegister { Selector = 0x23, Limit = uint.MaxValue, Attributes = 0xcf3 };
        MapPages();
        _rig.Load(state);
        _rig.Context.MakeJumpCache();
        _pages = new CodePages(_rig.Memory);
        _cache = new CodeCache(_rig.Context, _pages, 0);
        _rig.Context.Code = _cache;
        _watchdog = new Timer(_ => Volatile.Write(ref Cpu->Attention, -1), null, 5000, 5000);
    }

    public Cpu* Cpu => _rig.Cpu;

    /// <summary>Host address of a scratch page.</summary>
    public byte* Page(int number) => _rig.Host + Frames[number];

    private void MapPages()
    {
        // What writes its code faults here, and is taken out: it would find it changed when it runs again.
        const ulong All = 7, ReadOnly = 5, Directory = EngineRig.Tables + 0x2000, Table = EngineRig.Tables + 0x3000;
        for (ulong n = 0; n < 512; n++)
            _rig.Write64(Directory + (n * 8), 0);
        _rig.Write64(Directory, Table | All);
        for (ulong at = NativeProgram.Code; at < NativeProgram.Code + NativeProgram.CodeSize; at += 4096)
            _rig.Write64(Table + (at >> 12 << 3), at | ReadOnly);
        for (ulong n = 0; n < (ulong)Frames.Length; n++)
            _rig.Write64(Table + ((NativeProgram.Scratch >> 12) + n << 3), Frames[n] | All);
    }

    /// <summary>Takes a program, and forgets what was decoded of the last.</summary>
    public void Place(ReadOnlySpan<byte> code, ulong at)
    {
        code.CopyTo(new Span<byte>(_rig.Host + at, code.Length));
        NativeProgram.End.CopyTo(new Span<byte>(_rig.Host + at + code.Length, NativeProgram.End.Length));
        for (ulong page = NativeProgram.Code; page < NativeProgram.Code + NativeProgram.CodeSize; page += 4096)
            _cache.Drop(page, ulong.MaxValue);
    }

    /// <summary>Takes registers and memory from the native program's block and a template of the scratch pages.</summary>
    public void Load(byte* block, byte* memory, ulong start)
    {
        Buffer.MemoryCopy(block + NativeRunner.ExtendedIn, (void*)Cpu->Extended, 4096, 832);
        LegacyArea.LoadX87(Cpu, block + NativeRunner.ExtendedIn, wide: true);
        Cpu->Mxcsr = *(uint*)(block + NativeRunner.ExtendedIn + 24);
        for (int n = 0; n < 16; n++)
            Cpu->Gpr[n] = ((ulong*)(block + NativeRunner.GprIn))[n];
        Cpu->FlagKind = FlagKind.Explicit;
        Cpu->Rflags = (uint)*(ulong*)(block + NativeRunner.FlagsIn);
        Cpu->FaultVector = -1;
        Cpu->Rip = start;
        for (int n = 0; n < Frames.Length; n++)
            Buffer.MemoryCopy(memory + (n * 4096), Page(n), 4096, 4096);
    }

    /// <summary>Executes one instruction; the vector of a fault, or −1.</summary>
    public int Step() => _rig.Step();

    /// <summary>Runs blocks until a fault: its vector, 14 at the program's end, or −1 where it went on for seconds.</summary>
    public int RunBlocks()
    {
        for (int attempt = 0; attempt < 2; attempt++)
        {
            Volatile.Write(ref Cpu->Attention, 0);
            if (RunLoopAccess.Run(_rig.Context, _cache) == LoopResult.Fault)
                return Cpu->FaultVector;
        }

        return -1;
    }

    public void Dispose()
    {
        _watchdog.Dispose();
        _rig.Context.Code = null;
        _cache.Dispose();
        _rig.Dispose();
    }
}
