using Iced.Intel;
using Kvm.Devices.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.X86.Tests.Deterministic;

/// <summary>Small guests in real mode that program the chips, take their interrupts and count them; each ends by halting with interrupts off.</summary>
internal static class GuestCode
{
    /// <summary>Counters of interrupts, 16 bits each.</summary>
    public const ushort Counter = 0x500, Other = 0x504;

    /// <summary>Where the first and the second processor begin.</summary>
    public const ushort Main = 0x1000, Second = 0x2000;

    /// <summary>Written to when a guest is done.</summary>
    public const byte EndPort = 0xf4;

    /// <summary>Where guests that write more than counters write.</summary>
    public const ushort Log = 0x4000;

    private const ushort Handler = 0x1800, OtherHandler = 0x1900;

    /// <summary>8259 and 8254 as a PC's firmware sets them up; counts five ticks of 1,193 counts (1 ms).</summary>
    public static void PitTicks(GuestMemory memory)
    {
        Assemble(memory, Main, a =>
        {
            foreach (var (port, value) in new (byte, byte)[]
            {
                (0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01),
                (0xa0, 0x11), (0xa1, 0x70), (0xa1, 0x02), (0xa1, 0x01),
                (0x21, 0xfe), (0xa1, 0xff), (0x43, 0x34), (0x40, 0xa9), (0x40, 0x04),
            })
                Out(a, port, value);
            HaltUntil(a, Counter, 5, b => Out(b, 0x43, 0x30));
        });
        SetHandler(memory, 8, Handler, Counter, a => Out(a, 0x20, 0x20));
    }

    /// <summary>x2APIC timer in TSC-deadline mode, armed anew by each interrupt for so many ticks later.</summary>
    public static void DeadlineTicks(GuestMemory memory, short count, int ticks)
    {
        Assemble(memory, Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            Wrmsr(a, 0x832, 0x400e0);
            Arm(a);
            HaltUntil(a, Counter, count, b => Wrmsr(b, 0x6e0, 0));
        });
        SetHandler(memory, 0xe0, Handler, Counter, a =>
        {
            Arm(a);
            Wrmsr(a, 0x80b, 0);
        });

        void Arm(Assembler a)
        {
            a.rdtsc();
            a.add(eax, ticks);
            a.adc(edx, 0);
            a.mov(ecx, 0x6e0);
            a.wrmsr();
        }
    }

    /// <summary>A deadline in the past between two instructions; the second stores the counter the handler has changed.</summary>
    public static void DeadlineInThePast(GuestMemory memory)
    {
        Assemble(memory, Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            Wrmsr(a, 0x832, 0x400e0);
            a.sti();
            Wrmsr(a, 0x6e0, 1);
            a.mov(ax, __word_ptr[Counter]);
            a.mov(__word_ptr[Other], ax);
            End(a);
        });
        SetHandler(memory, 0xe0, Handler, Counter, a => Wrmsr(a, 0x80b, 0));
    }

    /// <summary>The first processor starts the second by INIT and start-up IPIs; then each answers the other's IPI until the first has counted enough.</summary>
    public static void PingPong(GuestMemory memory, short count)
    {
        Assemble(memory, Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            Wrmsr(a, 0x830, (1UL << 32) | 0x4500);
            Wrmsr(a, 0x830, (1UL << 32) | 0x4600 | (Second >> 12));
            Wrmsr(a, 0x830, (1UL << 32) | 0x4600 | (Second >> 12));
            HaltUntil(a, Counter, count);
        });
        Assemble(memory, Second, a =>
        {
            a.mov(sp, 0x6000);
            EnableX2(a, 0xfee0_0800);
            Wrmsr(a, 0x830, 0x51);
            HaltUntil(a, Other, short.MaxValue);
        });
        SetHandler(memory, 0x51, Handler, Counter, a =>
        {
            Wrmsr(a, 0x80b, 0);
            Wrmsr(a, 0x830, (1UL << 32) | 0x52);
        });
        SetHandler(memory, 0x52, OtherHandler, Other, a =>
        {
            Wrmsr(a, 0x80b, 0);
            Wrmsr(a, 0x830, 0x51);
        });
    }

    /// <summary>An NMI to oneself with interrupts off.</summary>
    public static void SelfNmi(GuestMemory memory)
    {
        Assemble(memory, Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            a.cli();
            Wrmsr(a, 0x830, 0x400);
            a.nop();
            End(a);
        });
        SetHandler(memory, 2, Handler, Counter, _ => { });
    }

    /// <summary>Waits for three interrupts at 0x61; the handler tells the device at port 0xe0.</summary>
    public static void Listener(GuestMemory memory)
    {
        Assemble(memory, Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            HaltUntil(a, Counter, 3);
        });
        SetHandler(memory, 0x61, Handler, Counter, a =>
        {
            Out(a, 0xe0, 1);
            Wrmsr(a, 0x80b, 0);
        });
    }

    /// <summary>Reads and writes the local APIC's page below 1 MiB, where IA32_APIC_BASE moves it: priority there and back, then an EOI'd self-IPI.</summary>
    public static void RelocatedPage(GuestMemory memory)
    {
        Assemble(memory, Main, a =>
        {
            Wrmsr(a, 0x1b, 0x8900);
            a.mov(__dword_ptr[0x80f0], 0x1ff);
            a.mov(__dword_ptr[0x8080], 0x30);
            a.mov(eax, __dword_ptr[0x80a0]);
            a.mov(__word_ptr[Other], ax);
            a.sti();
            a.mov(__dword_ptr[0x8300], 0x4_0055);
            a.nop();
            End(a);
        });
        SetHandler(memory, 0x55, Handler, Counter, a => a.mov(__dword_ptr[0x80b0], 0));
    }

    /// <summary>Stores eight times RDTSC, RDRAND and RDSEED of 32 bits from <see cref="Log"/> on, with a pause between.</summary>
    public static void TimeAndRandom(GuestMemory memory) => Assemble(memory, Main, a =>
    {
        var again = a.CreateLabel();
        var pause = a.CreateLabel();
        a.mov(di, Log);
        a.mov(bp, 8);
        a.Label(ref again);
        a.rdtsc();
        a.stosd();
        a.rdrand(eax);
        a.stosd();
        a.rdseed(eax);
        a.stosd();
        a.mov(cx, 100);
        a.Label(ref pause);
        a.loop(pause);
        a.dec(bp);
        a.jnz(again);
        End(a);
    });

    /// <summary>
    /// Two processors draw numbers from <see cref="Counter"/> and write who drew them to <see cref="Log"/>; without LOCK, so that even
    /// lost updates have to repeat.
    /// </summary>
    public static void Race(GuestMemory memory, short count)
    {
        Assemble(memory, Main, a =>
        {
            EnableX2(a, 0xfee0_0900);
            Wrmsr(a, 0x830, (1UL << 32) | 0x4500);
            Wrmsr(a, 0x830, (1UL << 32) | 0x4600 | (Second >> 12));
            Draw(a, 1, count);
            End(a);
        });
        Assemble(memory, Second, a => Draw(a, 2, short.MaxValue));

        static void Draw(Assembler a, byte who, short count)
        {
            var again = a.CreateLabel();
            var work = a.CreateLabel();
            a.Label(ref again);
            a.mov(bx, __word_ptr[Counter]);
            a.mov(cx, (short)(2 + who));
            a.Label(ref work);
            a.loop(work);
            a.mov(__byte_ptr[bx + Log], who);
            a.inc(bx);
            a.mov(__word_ptr[Counter], bx);
            a.cmp(bx, count);
            a.jl(again);
        }
    }

    /// <summary>REP STOSB, MOVSB, CMPSB and SCASB over a few pages, a count of the rounds in between.</summary>
    public static void Strings(GuestMemory memory) => Assemble(memory, Main, a =>
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.inc(__word_ptr[Counter]);
        a.mov(al, __byte_ptr[Counter]);
        a.mov(di, 0x8000);
        a.mov(cx, 0x1ffd);
        a.rep.stosb();
        a.mov(si, 0x8001);
        a.mov(di, 0xa003);
        a.mov(cx, 0x1801);
        a.rep.movsb();
        a.mov(si, 0x8001);
        a.mov(di, 0xa003);
        a.mov(cx, 0x1801);
        a.repe.cmpsb();
        a.not(al);
        a.mov(di, 0x8000);
        a.mov(cx, 0x1ffd);
        a.repne.scasb();
        a.cmp(__word_ptr[Counter], 5);
        a.jl(again);
        End(a);
    });

    /// <summary>Halts for ever with interrupts off.</summary>
    public static void Dead(GuestMemory memory) => Assemble(memory, Main, a =>
    {
        a.cli();
        a.hlt();
    });

    /// <summary>Counts for ever.</summary>
    public static void Endless(GuestMemory memory) => Assemble(memory, Main, a =>
    {
        var again = a.CreateLabel();
        a.Label(ref again);
        a.inc(__word_ptr[Counter]);
        a.jmp(again);
    });

    private static void EnableX2(Assembler a, uint apicBase)
    {
        Wrmsr(a, 0x1b, apicBase | 0xc00);
        Wrmsr(a, 0x80f, 0x1ff);
    }

    /// <summary>HLT with interrupts on until a counter has reached a number.</summary>
    private static void HaltUntil(Assembler a, ushort counter, short count, Action<Assembler>? stop = null)
    {
        var again = a.CreateLabel();
        var done = a.CreateLabel();
        a.Label(ref again);
        a.cli();
        a.cmp(__word_ptr[counter], count);
        a.jge(done);
        // No interrupt is taken between STI and HLT: a wake-up cannot be lost.
        a.sti();
        a.hlt();
        a.jmp(again);
        a.Label(ref done);
        stop?.Invoke(a);
        End(a);
    }

    private static void End(Assembler a)
    {
        a.cli();
        Out(a, EndPort, 1);
        a.hlt();
    }

    private static void SetHandler(GuestMemory memory, int vector, ushort address, ushort counter, Action<Assembler> eoi)
    {
        Assemble(memory, address, a =>
        {
            a.push(eax);
            a.push(ecx);
            a.push(edx);
            a.inc(__word_ptr[counter]);
            eoi(a);
            a.pop(edx);
            a.pop(ecx);
            a.pop(eax);
            a.iret();
        });
        memory.TryWrite((ulong)vector * 4, (uint)address).Should().BeTrue();
    }

    private static void Assemble(GuestMemory memory, ulong address, Action<Assembler> code)
    {
        var assembler = new Assembler(16);
        code(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        memory.TryWrite(address, stream.ToArray()).Should().BeTrue();
    }

    private static void Out(Assembler a, byte port, byte value)
    {
        a.mov(al, value);
        a.@out(port, al);
    }

    private static void Wrmsr(Assembler a, uint msr, ulong value)
    {
        a.mov(ecx, msr);
        a.mov(eax, (uint)value);
        a.mov(edx, (uint)(value >> 32));
        a.wrmsr();
    }
}
