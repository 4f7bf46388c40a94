// Invariants: _ops are the ops of one block, placed behind its entry op and alive while its translation is. The emitter has room for
// MaxOpBytes behind every op (TryTranslate asked for it). Scratch registers hold nothing across ops.
using Kvm.X86.Decode;
using Kvm.X86.Execute;

namespace Kvm.X86.Translate;

/// <summary>
/// Translates the ops of a block to host code, one after the other. Guest registers stay where <see cref="HostRegisters"/> has them;
/// the status flags stay in the host's while nothing disturbs them and are saved where somebody may see them.
/// </summary>
/// <remarks>One serves one processor. Allocates nothing after construction.</remarks>
internal sealed unsafe partial class BlockTranslator
{
    /// <summary>Host bytes to be free for each op of a block, its stubs included, and for each block.</summary>
    private const int RoomPerOp = 640, RoomPerBlock = 4096;

    private const int MaxStubs = 1024;

    private readonly CodeArena _arena;
    private readonly Emitter _e;
    private readonly CpuField _field;
    private readonly OpInfo[] _infos = new OpInfo[BlockBuilder.MaxOps + 1];
    private readonly FlagSet[] _before = new FlagSet[BlockBuilder.MaxOps + 1];
    private readonly FlagSet[] _after = new FlagSet[BlockBuilder.MaxOps + 1];
    private readonly int[] _starts = new int[BlockBuilder.MaxOps + 1];
    private readonly Stub[] _stubs = new Stub[MaxStubs];
    private Op* _entry;
    private Op* _ops;
    private byte* _start;
    private int _count;
    private int _stubCount;
    private int _opStubs;
    private int _i;
    private FlagState _flags;

    public BlockTranslator(CodeArena arena, Emitter emitter, CpuField field)
    {
        _field = field;
        _arena = arena;
        _e = emitter;
    }

    /// <summary>Where the guest's status flags are while code is written.</summary>
    private enum FlagState
    {
        /// <summary>In Cpu, in any form.</summary>
        Any,

        /// <summary>In Cpu, in the host's form.</summary>
        Memory,

        /// <summary>In the host's flags only.</summary>
        Live,

        /// <summary>In the host's flags and in Cpu in the host's form.</summary>
        Both,

        /// <summary>Nowhere: they are overwritten before anybody looks.</summary>
        Dead,
    }

    /// <summary>
    /// Runs are to repeat on every host: an op that leaves flags undefined, which host processors fill in their own ways, is run by its
    /// handler if anybody may look at them.
    /// </summary>
    public bool Exact { get; init; }

    /// <summary>Where each op's code begins in the block translated last, from its start; then where the last one's ends.</summary>
    public ReadOnlySpan<int> Starts => _starts.AsSpan(0, _count + 1);

    /// <summary>Ops of the block translated last.</summary>
    public int OpCount => _count;

    /// <summary>
    /// Translates the block behind an entry op. Returns where its code begins in the executable view, or 0 if the arena is
    /// full: the caller resets it and tries again.
    /// </summary>
    /// <param name="entry">The entry op.</param>
    /// <param name="counter">Not null: the code adds one here each time it is entered.</param>
    public nint TryTranslate(Op* entry, ulong* counter = null)
    {
        _entry = entry;
        _ops = entry + 1;
        Describe();
        if (!_arena.TryBegin((_count * RoomPerOp) + RoomPerBlock))
            return 0;
        _start = _e.At;
        _stubCount = 0;
        _flags = FlagState.Any;
        if (counter != null)
        {
            // RAX and the host's flags are nobody's where a block is entered.
            _e.MovConstant(Host.Rax, (nint)counter);
            _e.MemImm(8, Opcode.AluImmediate, 0, new HostMemory(Host.Rax, 0), 1);
        }

        for (_i = 0; _i < _count; _i++)
        {
            _starts[_i] = (int)(_e.At - _start);
            _opStubs = _stubCount;
            TranslateOp(ref _ops[_i], _infos[_i]);
            CloseStubs();
        }

        _starts[_count] = (int)(_e.At - _start);
        WriteStubs();
        _arena.Close();
        return (nint)_start + _arena.ToExecutable;
    }

    /// <summary>Finds out what the ops do and which flags are looked at.</summary>
    private void Describe()
    {
        _count = 0;
        do
            _infos[_count] = OpCatalog.Find(_ops[_count].Fn);
        while (!EndsBlock(_infos[_count++]) && _count < BlockBuilder.MaxOps);

        var live = FlagSet.All;
        for (int n = _count - 1; n >= 0; n--)
        {
            var effect = FlagEffect.Of(_infos[n], _ops[n]);
            _after[n] = live;
            live = (live & ~effect.Kills) | effect.Reads;
            _before[n] = live;
        }
    }

    private static bool EndsBlock(in OpInfo info) => info.Family == OpFamily.Simple
        && (SimpleKind)info.Kind is SimpleKind.Jump or SimpleKind.JumpRegister or SimpleKind.Call or SimpleKind.CallRegister or SimpleKind.Ret or SimpleKind.HelperEnd;

    private void TranslateOp(ref Op op, in OpInfo info)
    {
        if (Exact && (LiveAfter & FlagEffect.UndefinedBy(info, op)) != FlagSet.None)
        {
            Single();
            return;
        }

        switch (info.Family)
        {
            case OpFamily.Alu: Alu(op, info); break;
            case OpFamily.Unary: Unary(op, info); break;
            case OpFamily.Shift: Shift(op, info); break;
            case OpFamily.DoubleShift: DoubleShift(op, info); break;
            case OpFamily.Mov: Mov(op, info); break;
            case OpFamily.Extend: Extend(op, info); break;
            case OpFamily.Mul: Mul(op, info); break;
            case OpFamily.Bit: Bit(op, info); break;
            case OpFamily.Scan: Scan(op, info); break;
            case OpFamily.Condition: Condition(op, info); break;
            case OpFamily.Fused: Fused(op, info); break;
            case OpFamily.Atomic: Atomic(op, info); break;
            case OpFamily.Simple: Simple(ref op, (SimpleKind)info.Kind); break;
            default: Single(); break;
        }
    }

    /// <summary>Flags that must survive the op, or be right if it leaves.</summary>
    private FlagSet Needed => _before[_i];

    /// <summary>Flags somebody looks at behind the op.</summary>
    private FlagSet LiveAfter => _after[_i];

    /// <summary>The host's flags are about to be lost.</summary>
    private void Clobber()
    {
        if (_flags == FlagState.Live)
        {
            if (Needed != FlagSet.None)
                SaveFlags();
            else
                _flags = FlagState.Dead;
        }

        if (_flags == FlagState.Both)
            _flags = FlagState.Memory;
    }

    /// <summary>Stores the host's flags; they stay as they are. Uses RAX.</summary>
    private void SaveFlags()
    {
        if (_flags != FlagState.Live)
            return;
        // The constant also breaks the dependence on RAX's last value, which the partial writes would otherwise merge with.
        _e.MovConstant(Host.Rax, State.FlagKind.Host << 16);
        _e.Lahf();
        _e.RegReg(1, Opcode.Setcc + Cc.O, 0, Host.Rax);
        _e.RegMem(4, Opcode.MovStore, Host.Rax, _field.FlagWord);
        _flags = FlagState.Both;
    }

    /// <summary>Brings the flags in memory to the host's form. Loses scratch registers and, if it has to ask, the host's flags.</summary>
    private void NormalizeFlags()
    {
        if (_flags != FlagState.Any)
            return;
        _e.MemImm(1, Opcode.AluImmediate, 7, _field.FlagKind, State.FlagKind.Host);
        AddStub(ExitKind.Flags, _e.Jcc(Cc.Ne)).Resume = _e.At;
        _flags = FlagState.Memory;
    }

    /// <summary>Brings the flags into the host's. Uses RAX.</summary>
    private void LoadFlags()
    {
        NormalizeFlags();
        if (_flags != FlagState.Memory)
            return;
        RestoreFlags();
        _flags = FlagState.Both;
    }

    private void RestoreFlags()
    {
        _e.RegMem(4, Opcode.MovLoad, Host.Rax, _field.FlagWord);
        _e.RegImm(1, Opcode.AluImmediate, 0, Host.Rax, 0x7f); // OF becomes AL's
        _e.Sahf();
    }

    /// <summary>Brings CF into the host's flags; of the others nothing is known unless they were there.</summary>
    private void LoadCarry()
    {
        NormalizeFlags();
        if (_flags == FlagState.Memory)
            _e.MemImm8(4, Opcode.BitImmediate, 4, _field.FlagWord, 8);
    }

    /// <summary>Before an op that leaves some flags as they were: brings those in that somebody will look at.</summary>
    private void LoadKept(FlagSet replaced)
    {
        var kept = LiveAfter & ~replaced;
        if (kept == FlagSet.Carry)
            LoadCarry();
        else if (kept != FlagSet.None)
            LoadFlags();
    }

    /// <summary>The host's flags are the guest's now.</summary>
    private void DefineFlags() => _flags = FlagState.Live;
}
