using Iced.Intel;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Decode;

/// <summary>What an op does to the status flags, for leaving out flags nobody sees.</summary>
[Flags]
internal enum Effects : byte
{
    None = 0,

    /// <summary>Writes all six without reading any.</summary>
    WritesFlags = 1,

    /// <summary>Reads flags, or leaves some as they were.</summary>
    ReadsFlags = 2,

    /// <summary>May fault or leave the block: flags must be right before it.</summary>
    Exits = 4,
}

/// <summary>
/// Turns instructions into ops. One builder serves one processor; it allocates nothing after construction. Output is position
/// independent and valid for the <see cref="ModeBits"/> it was built for.
/// </summary>
/// <remarks>
/// An instruction that may fault changes nothing architectural before its last possible fault: loads to scratch slots come
/// first, and stores behind flag-setting ops were proven writable by LoadToModify.
/// </remarks>
internal sealed partial class BlockBuilder
{
    /// <summary>Instructions in a block at most.</summary>
    public const int MaxInstructions = 64;

    /// <summary>Conditional jumps a block runs through when they are not taken.</summary>
    private const int MaxSideExits = 4;

    /// <summary>Ops of a block at most, stubs included.</summary>
    public const int MaxOps = 320;
    private readonly Op[] _ops = new Op[MaxOps];
    private readonly nint[] _quiet = new nint[MaxOps];
    private readonly Effects[] _effects = new Effects[MaxOps];
    private readonly int[] _jumps = new int[8];
    private readonly long[] _targets = new long[8];
    private readonly Decoder[] _decoders = new Decoder[3];
    private readonly CodeBytes _bytes;
    private Instruction _i;
    private int _count;
    private int _start;
    private int _jumpCount;
    private int _instructions;
    private bool _ends;
    private FlagProducer _producer;
    private uint _mode;
    private bool _long;
    private uint _features;
    private int _offset;
    private int _position;
    private readonly byte[] _fusable = new byte[MaxOps];

    /// <summary>Makes a builder reading from <paramref name="bytes"/>.</summary>
    public BlockBuilder(CodeBytes bytes)
    {
        _bytes = bytes;
        for (int i = 0; i < 3; i++)
            _decoders[i] = Decoder.Create(16 << i, bytes);
    }

    /// <summary>The finished ops: first the block's, then one stub for each direct jump.</summary>
    public ReadOnlySpan<Op> Ops => _ops.AsSpan(0, _count);

    /// <summary>Index of each direct jump; its Imm holds the index of its stub.</summary>
    public ReadOnlySpan<int> Jumps => _jumps.AsSpan(0, _jumpCount);

    /// <summary>Instructions in the block.</summary>
    public int Instructions => _instructions;

    /// <summary>Bytes of code the block was made from.</summary>
    public int ByteLength { get; private set; }

    /// <summary>The instruction decoded last.</summary>
    public ref readonly Instruction Last => ref _i;

    /// <summary>
    /// Builds from the bytes in the reader, of which the first is at <paramref name="offset"/> in its page. False if the bytes end
    /// inside the first instruction: the caller then brings the next page's.
    /// </summary>
    /// <param name="offset">Offset in the page of the first instruction.</param>
    /// <param name="mode">The <see cref="ModeBits"/>.</param>
    /// <param name="features">The <see cref="CpuFeatures"/>.</param>
    /// <param name="limit">Instructions at most, from 1.</param>
    public bool TryBuild(int offset, uint mode, uint features, int limit)
    {
        _count = _jumpCount = _instructions = 0;
        _producer = FlagProducer.Unknown;
        _mode = mode;
        _features = features;
        _long = (mode & ModeBits.CodeSize) == 2;
        _ends = false;
        var decoder = _decoders[mode & ModeBits.CodeSize];
        _bytes.Seek(0);
        decoder.IP = (ulong)offset;
        int used = 0;
        while (!_ends && _instructions < limit && _count < MaxOps - 48)
        {
            decoder.Decode(out _i);
            if (decoder.LastError == DecoderError.NoMoreBytes)
            {
                if (_instructions == 0)
                    return false;
                break;
            }

            _position = used;
            Emit(offset + used);
            used += _i.Length;
        }

        ByteLength = used;
        if (!_ends)
            EndAt(offset + used);
        AddStubs();
        DropDeadFlags();
        return true;
    }

    private void Emit(int offset)
    {
        _start = _count;
        _offset = offset;
        LastUnknown = false;
        _instructions++;
        if (_i.IsInvalid)
            EmitUndefined();
        else
            EmitInstruction();
        byte first = Op.FirstBit;
        for (int n = _start; n < _count; n++)
        {
            ref var op = ref _ops[n];
            op.Offset = (ushort)offset;
            op.LengthSegment |= (byte)_i.Length;
            op.CodeValue = (ushort)_i.Code;
            op.Scale |= first;
            first = 0;
        }
    }

    /// <summary>Appends an op.</summary>
    private ref Op Add(nint fn, Effects effects, nint quiet = 0)
    {
        int n = _count++;
        _quiet[n] = quiet;
        _fusable[n] = 0;
        _effects[n] = effects;
        ref var op = ref _ops[n];
        op = default;
        op.Fn = fn;
        op.Base = op.Index = Slots.Zero;
        return ref op;
    }

    private ref Op Add(SimpleKind kind, Effects effects) => ref Add(HotTable.Simple(kind), effects);

    /// <summary>Appends a helper-form op: what a helper does to flags is not known here.</summary>
    private ref Op AddHelper(nint helper)
    {
        _producer = FlagProducer.Unknown;
        ref var op = ref Add(SimpleKind.Helper, Effects.ReadsFlags | Effects.Exits);
        op.Imm = helper;
        return ref op;
    }

    /// <summary>Appends a helper that ends the block.</summary>
    private ref Op AddEnd(nint helper)
    {
        ref var op = ref AddHelper(helper);
        op.Fn = HotTable.Simple(SimpleKind.HelperEnd);
        op.V = (byte)_instructions;
        _ends = true;
        return ref op;
    }

    /// <summary>Makes the op a direct jump to an offset relative to the page.</summary>
    private void Link(int op, long target)
    {
        _jumps[_jumpCount] = op;
        _targets[_jumpCount++] = target;
    }

    private void EndAt(int next)
    {
        ref var op = ref Add(SimpleKind.Jump, Effects.Exits);
        op.Scale = Op.FirstBit;
        op.CodeValue = Op.NoCode;
        op.V = (byte)_instructions;
        Link(_count - 1, next);
        _ends = true;
    }

    private void AddStubs()
    {
        for (int n = 0; n < _jumpCount; n++)
        {
            long target = _targets[n];
            bool inside = (_mode & ModeBits.FlatCode) != 0 && (ulong)target < 4096;
            int jump = _jumps[n];
            ref var stub = ref Add(inside ? SimpleKind.LinkStub : SimpleKind.CrossStub, Effects.Exits);
            stub.Imm = target;
            stub.Disp = jump - (_count - 1);
            stub.Scale = Op.FirstBit;
            stub.CodeValue = Op.NoCode;
            _ops[jump].Imm = _count - 1;
        }
    }

    /// <summary>Replaces handlers by their quiet form where another op overwrites the flags before anything can see them.</summary>
    private void DropDeadFlags()
    {
        bool live = true;
        for (int n = _count - 1; n >= 0; n--)
        {
            var effects = _effects[n];
            if (!live && _quiet[n] != 0)
                _ops[n].Fn = _quiet[n];
            if ((effects & Effects.WritesFlags) != 0)
                live = false;
            if ((effects & (Effects.ReadsFlags | Effects.Exits)) != 0)
                live = true;
        }
    }
}
