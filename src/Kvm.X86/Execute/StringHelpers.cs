// Invariants: a host pointer is a translation buffer hit for the page it is used in, taken and used within one call; `count` elements
// from it stay in the page.
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Paging;
using Kvm.X86.State;

namespace Kvm.X86.Execute;

/// <summary>
/// MOVS, STOS, LODS, SCAS, CMPS: page by page where memory allows, element by element where it does not, and interruptible
/// between elements. Imm8: bits 0–1 address size (16, 32, 64), bit 2 REP/REPE, bit 3 REPNE.
/// </summary>
internal static unsafe partial class StringHelpers
{
    /// <summary>Bits of Imm8.</summary>
    public const byte Repeat = 4, RepeatNotEqual = 8;

    private const int Rcx = 1, Rsi = 6, Rdi = 7;

    /// <summary>The family's entry in <see cref="HelperTable"/>.</summary>
    public static nint Resolve(Code code, out HelperKind kind)
    {
        kind = HelperKind.Repeats;
        return code switch
        {
            Code.Movsb_m8_m8 => At(&Movs<S8>),
            Code.Movsw_m16_m16 => At(&Movs<S16>),
            Code.Movsd_m32_m32 => At(&Movs<S32>),
            Code.Movsq_m64_m64 => At(&Movs<S64>),
            Code.Stosb_m8_AL => At(&Stos<S8>),
            Code.Stosw_m16_AX => At(&Stos<S16>),
            Code.Stosd_m32_EAX => At(&Stos<S32>),
            Code.Stosq_m64_RAX => At(&Stos<S64>),
            Code.Lodsb_AL_m8 => At(&Lods<S8>),
            Code.Lodsw_AX_m16 => At(&Lods<S16>),
            Code.Lodsd_EAX_m32 => At(&Lods<S32>),
            Code.Lodsq_RAX_m64 => At(&Lods<S64>),
            Code.Scasb_AL_m8 => At(&Scas<S8>),
            Code.Scasw_AX_m16 => At(&Scas<S16>),
            Code.Scasd_EAX_m32 => At(&Scas<S32>),
            Code.Scasq_RAX_m64 => At(&Scas<S64>),
            Code.Cmpsb_m8_m8 => At(&Cmps<S8>),
            Code.Cmpsw_m16_m16 => At(&Cmps<S16>),
            Code.Cmpsd_m32_m32 => At(&Cmps<S32>),
            Code.Cmpsq_m64_m64 => At(&Cmps<S64>),
            _ => 0,
        };
    }

    private static nint At(delegate*<Cpu*, Op*, bool> helper) => (nint)helper;

    /// <summary>What a pass over a string keeps: registers are brought up to date after each chunk.</summary>
    private ref struct Pass
    {
        private readonly Cpu* _cpu;
        private readonly Op* _op;
        private readonly ulong _mask;
        private readonly int _step;
        private ulong _most;

        public Pass(Cpu* cpu, Op* op, int size)
        {
            _cpu = cpu;
            _op = op;
            _mask = (op->Imm8 & 3) switch { 0 => ushort.MaxValue, 1 => uint.MaxValue, _ => ulong.MaxValue };
            _step = (cpu->Rflags & Bits.Df) != 0 ? -size : size;
            Repeats = (op->Imm8 & (Repeat | RepeatNotEqual)) != 0;
            Count = Repeats ? cpu->Gpr[Rcx] & _mask : 1;
            // Never more than may be retired until the run loop looks again: it stops after exactly as many as it was asked for.
            _most = (ulong)Math.Max(cpu->Left, 1);
        }

        public bool Repeats { get; }

        /// <summary>Elements left.</summary>
        public ulong Count { get; private set; }

        public readonly bool Backward => _step < 0;

        /// <summary>Linear address of the element the register points at; false with a fault recorded.</summary>
        public readonly bool TryLinear(int register, int segment, bool write, out ulong linear) =>
            StringHelpers.TryLinear(_cpu, segment, _cpu->Gpr[register] & _mask, (uint)Math.Abs(_step), write, out linear);

        /// <summary>Elements, the first included, that lie in its page and before the address register wraps.</summary>
        public readonly ulong Room(int register, ulong linear)
        {
            uint size = (uint)Math.Abs(_step), inPage = (uint)linear & 0xfff;
            if (inPage + size > 4096)
                return 0;
            if (Backward)
                return Math.Min(Math.Min(Count, _most), (inPage / size) + 1);
            ulong untilWrap = (_mask - (_cpu->Gpr[register] & _mask)) / size;
            return Math.Min(Math.Min(Math.Min(Count, _most), (4096 - inPage) / size), Math.Max(untilWrap, 1));
        }

        /// <summary>Whether n elements from the register on are inside the segment too (the first is known to be).</summary>
        public readonly bool Covers(int register, int segment, bool write, ulong n)
        {
            if (n <= 1 || (_cpu->Mode & ModeBits.CodeSize) == 2)
                return true;
            uint size = (uint)Math.Abs(_step);
            ulong last = (_cpu->Gpr[register] + ((n - 1) * (ulong)(long)_step)) & _mask;
            bool inside = StringHelpers.TryLinear(_cpu, segment, last, size, write, out _);
            _cpu->FaultVector = -1;
            return inside;
        }

        public readonly void Move(int register, ulong n)
        {
            ulong value = _cpu->Gpr[register] + (n * (ulong)(long)_step);
            _cpu->Gpr[register] = Merge(_cpu->Gpr[register], value);
        }

        /// <summary>Accounts for n elements done. True if the instruction is to go on with more.</summary>
        public bool Done(ulong n, bool stop)
        {
            Count -= n;
            if (Repeats)
                _cpu->Gpr[Rcx] = Merge(_cpu->Gpr[Rcx], Count);
            _cpu->Left -= (int)n;
            if (Count == 0 || stop)
            {
                _cpu->Left++; // the block counts the instruction once
                return false;
            }

            _most = (ulong)Math.Max(_cpu->Left, 1);
            if ((_cpu->Attention < 0 || _cpu->LeaveBlock != 0 || _cpu->Left <= 0 || (_cpu->Rflags & Bits.Tf) != 0) && Repeats)
            {
                _cpu->Unfinished = 1;
                return false;
            }

            return true;
        }

        private readonly ulong Merge(ulong old, ulong value) =>
            _mask == uint.MaxValue ? (uint)value : (old & ~_mask) | (value & _mask);
    }

    private static bool TryLinear(Cpu* cpu, int segment, ulong offset, uint size, bool write, out ulong linear)
    {
        if ((cpu->Mode & ModeBits.CodeSize) == 2)
        {
            linear = offset + Simple.SegmentBase(cpu, segment);
            return true;
        }

        linear = (uint)(cpu->Segments[segment & 7].Base + offset);
        return SegmentAccess.Check(cpu, segment, (uint)offset, size, write);
    }

    /// <summary>The host address, if all of the page may be accessed directly. Null otherwise; <paramref name="faulted"/> if it may not at all.</summary>
    private static byte* Direct(Cpu* cpu, Op* op, ulong linear, bool write, out bool faulted)
    {
        faulted = false;
        ulong page = linear & ~0xfffUL;
        var entry = Tlb.At(cpu->Tlb, linear);
        if ((write ? entry->WriteTag : entry->ReadTag) != page)
        {
            entry = Mem.Translate(CpuContext.From(cpu), op, linear, write ? AccessKind.Write : AccessKind.Read);
            faulted = entry == null;
            if (faulted || (write ? entry->WriteTag : entry->ReadTag) != page)
                return null;
        }

        return (byte*)(entry->Addend + (nint)linear);
    }

    private static bool Movs<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        var pass = new Pass(cpu, op, TSize.Bytes);
        if (pass.Count == 0)
            return true;
        ulong n;
        do
        {
            if (!pass.TryLinear(Rsi, op->Segment, false, out ulong from) || !pass.TryLinear(Rdi, Seg.Es, true, out ulong to))
                return false;
            n = Math.Min(pass.Room(Rsi, from), pass.Room(Rdi, to));
            if (!pass.Covers(Rsi, op->Segment, false, n) || !pass.Covers(Rdi, Seg.Es, true, n))
                n = 1;
            byte* source = null, target = null;
            bool faulted = false;
            if (n != 0 && (source = Direct(cpu, op, from, false, out faulted)) != null)
                target = Direct(cpu, op, to, true, out faulted);
            if (target != null)
                CopyElements<TSize>(source, target, n, pass.Backward);
            else if (faulted || !CopyOne<TSize>(cpu, op, from, to))
                return false;
            else
                n = 1;
            pass.Move(Rsi, n);
            pass.Move(Rdi, n);
        }
        while (pass.Done(n, false));
        return true;
    }

    private static bool CopyOne<TSize>(Cpu* cpu, Op* op, ulong from, ulong to) where TSize : ISize
    {
        ulong value;
        return Mem.TryReadBytes(cpu, op, from, (byte*)&value, TSize.Bytes) && Mem.TryWriteBytes(cpu, op, to, (byte*)&value, TSize.Bytes);
    }

    private static void CopyElements<TSize>(byte* source, byte* target, ulong n, bool backward) where TSize : ISize
    {
        long bytes = (long)n * TSize.Bytes;
        // Where the target follows the source closely, later elements must see earlier ones.
        bool plain = backward ? source >= target + TSize.Bytes || target >= source + bytes : target <= source || target >= source + bytes;
        if (!backward && plain)
        {
            Buffer.MemoryCopy(source, target, bytes, bytes);
            return;
        }

        int step = backward ? -TSize.Bytes : TSize.Bytes;
        for (; n != 0; n--, source += step, target += step)
            TSize.Store((nint)target, TSize.Load((nint)source));
    }

    private static bool Stos<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        var pass = new Pass(cpu, op, TSize.Bytes);
        if (pass.Count == 0)
            return true;
        ulong value = cpu->Gpr[0], n;
        do
        {
            if (!pass.TryLinear(Rdi, Seg.Es, true, out ulong to))
                return false;
            n = pass.Room(Rdi, to);
            if (!pass.Covers(Rdi, Seg.Es, true, n))
                n = 1;
            byte* target = null;
            bool faulted = false;
            if (n != 0)
                target = Direct(cpu, op, to, true, out faulted);
            if (target != null)
                Fill<TSize>(pass.Backward ? target - ((long)(n - 1) * TSize.Bytes) : target, value, (int)n);
            else if (faulted || !Mem.TryWriteBytes(cpu, op, to, (byte*)&value, TSize.Bytes))
                return false;
            else
                n = 1;
            pass.Move(Rdi, n);
        }
        while (pass.Done(n, false));
        return true;
    }

    private static void Fill<TSize>(byte* target, ulong value, int n) where TSize : ISize
    {
        switch (TSize.Bytes)
        {
            case 1: new Span<byte>(target, n).Fill((byte)value); break;
            case 2: new Span<ushort>(target, n).Fill((ushort)value); break;
            case 4: new Span<uint>(target, n).Fill((uint)value); break;
            default: new Span<ulong>(target, n).Fill(value); break;
        }
    }

    private static bool Lods<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        var pass = new Pass(cpu, op, TSize.Bytes);
        if (pass.Count == 0)
            return true;
        do
        {
            ulong value;
            if (!pass.TryLinear(Rsi, op->Segment, false, out ulong from) || !Mem.TryReadBytes(cpu, op, from, (byte*)&value, TSize.Bytes))
                return false;
            TSize.Set(cpu, 0, TSize.Load((nint)(&value)));
            pass.Move(Rsi, 1);
        }
        while (pass.Done(1, false));
        return true;
    }

    private static bool Scas<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        var pass = new Pass(cpu, op, TSize.Bytes);
        if (pass.Count == 0)
            return true;
        long a = TSize.Get(cpu, 0), b;
        ulong n;
        do
        {
            if (!pass.TryLinear(Rdi, Seg.Es, false, out ulong at))
                return false;
            n = pass.Room(Rdi, at);
            if (!pass.Covers(Rdi, Seg.Es, false, n))
                n = 1;
            byte* bytes = null;
            bool faulted = false;
            if (n != 0)
                bytes = Direct(cpu, op, at, false, out faulted);
            if (bytes != null)
                b = ScanElements<TSize>(bytes, a, ref n, pass.Backward, op->Imm8);
            else if (faulted || !TryReadOne<TSize>(cpu, op, at, out b))
                return false;
            else
                n = 1;
            Sub.Do<TSize>(cpu, a, b);
            pass.Move(Rdi, n);
        }
        while (pass.Done(n, Stops(op, a == b)));
        return true;
    }

    /// <summary>Scans up to n elements; on return n is how many were looked at, and the result the last of them.</summary>
    private static long ScanElements<TSize>(byte* at, long a, ref ulong n, bool backward, int form) where TSize : ISize
    {
        int step = backward ? -TSize.Bytes : TSize.Bytes;
        bool whileEqual = (form & Repeat) != 0;
        long b = 0;
        for (ulong i = 0; i < n; at += step)
        {
            b = TSize.Load((nint)at);
            i++;
            if ((a == b) != whileEqual)
                n = i;
        }

        return b;
    }

    /// <summary>REPE stops at a difference, REPNE at equality.</summary>
    private static bool Stops(Op* op, bool equal) => (op->Imm8 & Repeat) != 0 ? !equal : equal;

    private static bool TryReadOne<TSize>(Cpu* cpu, Op* op, ulong at, out long value) where TSize : ISize
    {
        ulong read;
        value = 0;
        if (!Mem.TryReadBytes(cpu, op, at, (byte*)&read, TSize.Bytes))
            return false;
        value = TSize.Load((nint)(&read));
        return true;
    }

    private static bool Cmps<TSize>(Cpu* cpu, Op* op) where TSize : ISize
    {
        var pass = new Pass(cpu, op, TSize.Bytes);
        if (pass.Count == 0)
            return true;
        long a, b;
        ulong n;
        do
        {
            if (!pass.TryLinear(Rsi, op->Segment, false, out ulong first) || !pass.TryLinear(Rdi, Seg.Es, false, out ulong second))
                return false;
            n = Math.Min(pass.Room(Rsi, first), pass.Room(Rdi, second));
            if (!pass.Covers(Rsi, op->Segment, false, n) || !pass.Covers(Rdi, Seg.Es, false, n))
                n = 1;
            byte* left = null, right = null;
            bool faulted = false;
            if (n != 0 && (left = Direct(cpu, op, first, false, out faulted)) != null)
                right = Direct(cpu, op, second, false, out faulted);
            if (right != null)
                a = CompareElements<TSize>(left, right, out b, ref n, pass.Backward, op->Imm8);
            else if (faulted || !TryReadOne<TSize>(cpu, op, first, out a) || !TryReadOne<TSize>(cpu, op, second, out b))
                return false;
            else
                n = 1;
            Sub.Do<TSize>(cpu, a, b);
            pass.Move(Rsi, n);
            pass.Move(Rdi, n);
        }
        while (pass.Done(n, Stops(op, a == b)));
        return true;
    }

    private static long CompareElements<TSize>(byte* left, byte* right, out long b, ref ulong n, bool backward, int form) where TSize : ISize
    {
        int step = backward ? -TSize.Bytes : TSize.Bytes;
        bool whileEqual = (form & Repeat) != 0;
        long a = 0;
        b = 0;
        for (ulong i = 0; i < n; left += step, right += step)
        {
            a = TSize.Load((nint)left);
            b = TSize.Load((nint)right);
            i++;
            if ((a == b) != whileEqual)
                n = i;
        }

        return a;
    }
}
