using Iced.Intel;
using Kvm.Boot.Tests;
using static Iced.Intel.AssemblerRegisters;

namespace Kvm.Cli.Tests;

/// <summary>A folder of kernels of a few instructions, made once and deleted with the test process.</summary>
internal static class Guests
{
    private const ushort SerialData = 0x3f8;
    private const ushort SerialLineStatus = 0x3fd;

    private static readonly string s_folder = Directory.CreateTempSubdirectory("kvmsharp-guests-").FullName;

    static Guests() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(s_folder, recursive: true);

    /// <summary>Six instructions: one character, then debug-exit with 0.</summary>
    public static string Six { get; } = Make("six", a =>
    {
        Print(a, "!");
        a.DebugExit(0);
    });

    /// <summary>Loops for ever after one character.</summary>
    public static string Loop { get; } = Make("loop", a =>
    {
        var again = a.CreateLabel();
        Print(a, "R");
        a.Label(ref again);
        a.jmp(again);
    });

    /// <summary>Powers off when its power button is pressed, which it looks at after one character (ACPI 6.5, 4.8.3).</summary>
    public static string PowerButton { get; } = Make("button", a =>
    {
        const ushort status = 0x600, enable = 0x602, control = 0x604, button = 0x100, softOff = 5 << 10 | 1 << 13 | 1;
        var wait = a.CreateLabel();
        a.mov(dx, enable);
        a.mov(ax, button);
        a.@out(dx, ax);
        Print(a, "R\n");
        a.mov(dx, status);
        a.Label(ref wait);
        a.@in(ax, dx);
        a.test(ax, button);
        a.jz(wait);
        a.mov(dx, control);
        a.mov(ax, softOff);
        a.@out(dx, ax);
        a.cli();
        a.hlt();
    });

    /// <summary>Prints for ever.</summary>
    public static string Flood { get; } = Make("flood", a =>
    {
        var again = a.CreateLabel();
        a.mov(dx, SerialData);
        a.mov(al, (sbyte)'x');
        a.Label(ref again);
        a.@out(dx, al);
        a.jmp(again);
    });

    /// <summary>Prints what is typed; ends at <c>q</c> with debug-exit 0.</summary>
    public static string Echo { get; } = Make("echo", a =>
    {
        var wait = a.CreateLabel();
        var end = a.CreateLabel();
        Print(a, "R");
        a.Label(ref wait);
        a.mov(dx, SerialLineStatus);
        a.@in(al, dx);
        a.test(al, 1);
        a.jz(wait);
        a.mov(dx, SerialData);
        a.@in(al, dx);
        a.cmp(al, (sbyte)'q');
        a.je(end);
        a.@out(dx, al);
        a.jmp(wait);
        a.Label(ref end);
        a.DebugExit(0);
    });

    /// <summary>Halts with interrupts off.</summary>
    public static string Halt { get; } = Make("halt", a =>
    {
        a.cli();
        a.hlt();
    });

    /// <summary>Loads an empty interrupt table and faults.</summary>
    public static string TripleFault { get; } = Make("triple", a =>
    {
        a.push(0);
        a.push(0);
        a.lidt(__[esp]);
        a.ud2();
    }, stack: true);

    /// <summary>Prints an escape sequence that would clear a terminal, then ends.</summary>
    public static string Escape { get; } = Make("escape", a =>
    {
        Print(a, "\x1b[2Jdone");
        a.DebugExit(0);
    });

    /// <summary>Prints the kernel's panic line and resets.</summary>
    public static string Panic { get; } = Make("panic", a =>
    {
        Print(a, "Kernel panic - not syncing: test\r\n");
        a.mov(al, unchecked((sbyte)0xfe));
        a.@out(0x64, al);
        a.cli();
        a.hlt();
    });

    /// <summary>Ends with a value at the debug-exit port.</summary>
    public static string DebugExit(uint value) => Make($"exit{value}", a => a.DebugExit(value));

    /// <summary>A file with any bytes.</summary>
    public static string Bytes(string name, byte[] bytes)
    {
        var path = Path.Combine(s_folder, name);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    /// <summary>A path in the folder where nothing is.</summary>
    public static string Nothing(string name) => Path.Combine(s_folder, $"{name}-{Guid.NewGuid():n}");

    /// <summary>A kernel of some instructions.</summary>
    public static string Make(string name, Action<Assembler> write, bool stack = false) => Bytes(name, TinyKernel.Assemble(a =>
    {
        if (stack)
            a.mov(esp, 0x8000);
        write(a);
    }));

    private static void Print(Assembler a, string text)
    {
        a.mov(dx, SerialData);
        foreach (var c in text)
        {
            a.mov(al, (sbyte)c);
            a.@out(dx, al);
        }
    }
}
