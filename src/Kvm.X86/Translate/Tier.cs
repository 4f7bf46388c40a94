// Invariants: used by the processor's thread outside of translated code. Entry ops handed to Translate are alive; Forget is called
// before the blocks' memory is used again.
using System.Runtime.InteropServices;
using Kvm.X86.Decode;
using Kvm.X86.Execute;
using Kvm.X86.State;

namespace Kvm.X86.Translate;

/// <summary>
/// The second tier of one processor: translates blocks that have been executed often, keeps their code in a bounded buffer, and
/// starts afresh when the buffer is full.
/// </summary>
internal sealed unsafe class Tier : IDisposable
{
    /// <summary>Executions before a block is translated (docs/engine.md: any value from 32 to 256 serves).</summary>
    public const int DefaultThreshold = 64;

    private readonly Cpu* _cpu;
    private readonly Emitter _emitter = new();
    private readonly CodeArena _arena;
    private readonly BlockTranslator _translator;
    private readonly TranslatedBlock* _blocks;
    private readonly int _capacity;
    private readonly ulong* _counters;
    private readonly List<int[]>? _starts;
    private int _count;

    /// <summary>Makes the tier and gives it to the processor.</summary>
    /// <param name="context">The processor.</param>
    /// <param name="memory">Where code goes; stays the caller's, who disposes it after the processor.</param>
    /// <param name="threshold">Executions before a block is translated, from 1.</param>
    /// <param name="keep">Counts executions and keeps what <see cref="TranslationTable"/> shows.</param>
    public Tier(CpuContext context, ICodeMemory memory, int threshold = DefaultThreshold, bool keep = false)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threshold, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(memory.Length, 1 << 20);
        Threshold = threshold;
        _cpu = context.Cpu;
        var field = new CpuField(_cpu);
        _arena = new CodeArena(memory, _emitter, field);
        _translator = new BlockTranslator(_arena, _emitter, field) { Exact = context.Exact };
        _capacity = memory.Length / 128;
        _blocks = (TranslatedBlock*)NativeMemory.Alloc((nuint)_capacity, (nuint)sizeof(TranslatedBlock));
        if (keep)
        {
            _counters = (ulong*)NativeMemory.AllocZeroed((nuint)_capacity, sizeof(ulong));
            _starts = [];
        }

        _cpu->HostEnter = _arena.Enter;
        _cpu->HostToWritable = -_arena.ToExecutable;
    }

    /// <summary>Executions before a block is translated.</summary>
    public int Threshold { get; }

    /// <summary>Host code that leaves for the interpreter: the Imm of a fresh entry op.</summary>
    public nint Interpret => _arena.Interpret;

    /// <summary>Blocks translated so far, those thrown away included.</summary>
    public ulong Translations { get; private set; }

    /// <summary>Times the buffer was full.</summary>
    public ulong Flushes { get; private set; }

    /// <summary>Bytes of code in the buffer.</summary>
    public int CodeBytes => _arena.Used;

    /// <summary>The blocks in the buffer, in the order of their translation. Some may have been invalidated since.</summary>
    public ReadOnlySpan<TranslatedBlock> Blocks => new(_blocks, _count);

    /// <summary>Translates the block behind an entry op, if it is 64-bit code.</summary>
    public void Translate(Op* entry)
    {
        if ((_cpu->Mode & ModeBits.CodeSize) != 2)
        {
            entry->Disp = int.MaxValue;
            return;
        }

        nint code = _count < _capacity ? _translator.TryTranslate(entry, Counter) : 0;
        if (code == 0)
        {
            Flush();
            code = _translator.TryTranslate(entry, Counter);
        }

        _starts?.Add(_translator.Starts.ToArray());

        ulong rip = _cpu->Gpr[Slots.CodeBase] + entry->Offset;
        _blocks[_count++] = new TranslatedBlock((nint)entry, rip, code, (int)(_arena.End - code), _translator.OpCount);
        Translations++;
        Entry.SetCode(entry, code);
    }

    /// <summary>Times a block's code was entered; 0 where nobody counts.</summary>
    public ulong ExecutionsOf(int block) => _counters == null ? 0 : _counters[block];

    /// <summary>Where the code of each of a block's ops begins, and the last one's ends; empty where that is not kept.</summary>
    public ReadOnlySpan<int> StartsOf(int block) => _starts == null ? [] : _starts[block];

    private ulong* Counter
    {
        get
        {
            if (_counters == null)
                return null;
            _counters[_count] = 0;
            return _counters + _count;
        }
    }

    /// <summary>Throws all code away; the blocks are interpreted until they have earned it again.</summary>
    public void Flush()
    {
        for (int n = 0; n < _count; n++)
            Entry.DropCode((Op*)_blocks[n].Entry, Interpret, Threshold);
        Forget();
        Flushes++;
    }

    /// <summary>Forgets all code without touching the blocks it was for: their memory is about to be used again.</summary>
    public void Forget()
    {
        _count = 0;
        _starts?.Clear();
        _arena.Reset();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.Free(_blocks);
        NativeMemory.Free(_counters);
    }
}

/// <summary>One translated block.</summary>
/// <param name="Entry">Its entry op.</param>
/// <param name="Rip">Where the guest saw it when it was translated.</param>
/// <param name="Code">Its host code, in the executable view.</param>
/// <param name="CodeLength">Bytes of it, exits included.</param>
/// <param name="Ops">Its ops.</param>
internal readonly record struct TranslatedBlock(nint Entry, ulong Rip, nint Code, int CodeLength, int Ops);
