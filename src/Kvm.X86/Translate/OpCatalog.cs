// Invariants: the table is filled once, under a lock, and never freed; readers see its address only when it is complete. A key is the address of a static handler.
using System.Runtime.InteropServices;
using Kvm.X86.Execute;

namespace Kvm.X86.Translate;

/// <summary>Which of <see cref="HotTable"/>'s functions a handler came from.</summary>
internal enum OpFamily : byte
{
    None, Alu, Unary, Shift, DoubleShift, Mov, Extend, Mul, Bit, Scan, Condition, Fused, Simple, Atomic,
}

/// <summary>What a handler does, in the words <see cref="HotTable"/> was asked with.</summary>
/// <param name="Family">The function.</param>
/// <param name="Kind">Its operation. Extend: bit 0 signed, the rest the size extended to. Fused: bit 0 TEST, bit 1 immediate.</param>
/// <param name="Size">Its operand size in bytes.</param>
/// <param name="Form">Its operand kinds. Condition, Fused: the condition code. Shift: 1 by CL.</param>
internal readonly record struct OpInfo(OpFamily Family, byte Kind, byte Size, byte Form)
{
    public bool Is(SimpleKind kind) => Family == OpFamily.Simple && Kind == (byte)kind;
}

/// <summary>
/// From a handler's address back to its meaning, so that the translator reads the same ops the interpreter runs. A handler that
/// is not found is called, not translated: nothing can go wrong by a gap.
/// </summary>
/// <remarks>
/// A compiler may give handlers with equal code one address. The first description then stands for all of them: equal code means the
/// same. Conditions that look only at the result (E, S, P) are entered before those that agree with them after logical operations.
/// </remarks>
internal static unsafe class OpCatalog
{
    private const int Capacity = 8192;

    private struct Entry
    {
        public nint Handler;
        public OpInfo Info;
    }

    private static readonly Lock Gate = new();
    private static nint _table;

    /// <summary>Number of handlers known.</summary>
    public static int Count { get; private set; }

    /// <summary>What a handler does; Family is None if it is not a hot handler.</summary>
    public static OpInfo Find(nint handler)
    {
        var table = (Entry*)Volatile.Read(ref _table);
        if (table == null)
            table = Fill();
        for (uint n = Hash(handler); table[n].Handler != 0; n = (n + 1) & (Capacity - 1))
        {
            if (table[n].Handler == handler)
                return table[n].Info;
        }

        return default;
    }

    private static uint Hash(nint handler) => (uint)(((ulong)handler * 0x9e3779b97f4a7c15) >> 51) & (Capacity - 1);

    private static Entry* Fill()
    {
        lock (Gate)
        {
            if (_table != 0)
                return (Entry*)_table;
            var table = (Entry*)NativeMemory.AllocZeroed(Capacity, (nuint)sizeof(Entry));
            Enter(table);
            Volatile.Write(ref _table, (nint)table);
            return table;
        }
    }

    private static void Add(Entry* table, nint handler, OpFamily family, int kind, int size = 0, int form = 0)
    {
        uint n = Hash(handler);
        for (; table[n].Handler != 0; n = (n + 1) & (Capacity - 1))
        {
            if (table[n].Handler == handler)
                return;
        }

        table[n] = new Entry { Handler = handler, Info = new OpInfo(family, (byte)kind, (byte)size, (byte)form) };
        Count++;
    }

    private static void Enter(Entry* t)
    {
        for (int simple = 0; simple <= (int)SimpleKind.HelperRepeat; simple++)
            Add(t, HotTable.Simple((SimpleKind)simple), OpFamily.Simple, simple);
        EnterConditions(t);
        for (int size = 1; size <= 8; size *= 2)
        {
            EnterArithmetic(t, size);
            EnterMoves(t, size);
            EnterFused(t, size);
        }
    }

    private static void EnterConditions(Entry* t)
    {
        for (int use = 0; use <= (int)ConditionUse.Move64; use++)
        {
            for (int cc = 0; cc < 16; cc++)
            {
                for (int producer = 0; producer <= (int)FlagProducer.Result; producer++)
                    Add(t, HotTable.Condition((ConditionUse)use, cc, (FlagProducer)producer), OpFamily.Condition, use, 0, cc);
            }
        }
    }

    private static void EnterArithmetic(Entry* t, int size)
    {
        for (int kind = 0; kind <= (int)AluKind.Test; kind++)
        {
            for (int form = 0; form <= (int)AluForm.Locked; form++)
                Add(t, HotTable.Alu((AluKind)kind, size, (AluForm)form), OpFamily.Alu, kind, size, form);
        }

        for (int kind = 0; kind <= (int)UnaryKind.Not; kind++)
        {
            for (int form = 0; form <= (int)UnaryForm.Locked; form++)
                Add(t, HotTable.Unary((UnaryKind)kind, size, (UnaryForm)form), OpFamily.Unary, kind, size, form);
        }

        for (int kind = 0; kind <= (int)ShiftKind.Sar; kind++)
        {
            for (int byCl = 0; byCl < 2; byCl++)
                Add(t, HotTable.Shift((ShiftKind)kind, size, byCl != 0), OpFamily.Shift, kind == (int)ShiftKind.Sal ? (int)ShiftKind.Shl : kind, size, byCl);
        }

        for (int form = 0; form <= (int)MulForm.Idiv; form++)
            Add(t, HotTable.Mul(size, (MulForm)form), OpFamily.Mul, 0, size, form);
        for (int kind = 0; kind <= (int)AtomicKind.RegisterCompareExchange; kind++)
            Add(t, HotTable.Atomic((AtomicKind)kind, size), OpFamily.Atomic, kind, size);
        if (size == 1)
            return;
        for (int left = 0; left < 2; left++)
            Add(t, HotTable.DoubleShift(left != 0, size), OpFamily.DoubleShift, left, size);
        for (int kind = 0; kind <= (int)BitKind.Flip; kind++)
        {
            for (int form = 0; form <= (int)BitForm.Locked; form++)
                Add(t, HotTable.Bit((BitKind)kind, size, (BitForm)form), OpFamily.Bit, kind, size, form);
        }

        for (int kind = 0; kind <= (int)ScanKind.BitAddress; kind++)
            Add(t, HotTable.Scan((ScanKind)kind, size), OpFamily.Scan, kind, size);
    }

    private static void EnterMoves(Entry* t, int size)
    {
        for (int form = 0; form <= (int)MovForm.Exchange; form++)
            Add(t, HotTable.Mov(size, (MovForm)form), OpFamily.Mov, 0, size, form);
        for (int to = size * 2; to <= 8; to *= 2)
        {
            for (int form = 0; form <= (int)ExtendForm.LoadX; form++)
            {
                Add(t, HotTable.Extend(true, size, to, (ExtendForm)form), OpFamily.Extend, (to << 1) | 1, size, form);
                if (size < 4 && to < 8)
                    Add(t, HotTable.Extend(false, size, to, (ExtendForm)form), OpFamily.Extend, to << 1, size, form);
            }
        }
    }

    private static void EnterFused(Entry* t, int size)
    {
        for (int kind = 0; kind < 4; kind++)
        {
            for (int cc = 0; cc < 16; cc++)
                Add(t, HotTable.Fused((kind & 1) != 0, size, cc, (kind & 2) != 0), OpFamily.Fused, kind, size, cc);
        }
    }
}
