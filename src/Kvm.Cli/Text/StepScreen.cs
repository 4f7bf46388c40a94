using System.Globalization;
using System.Text;
using Kvm.Labs.Catalog;
using Kvm.Vmm.Configuration;
using Spectre.Console;

namespace Kvm.Cli.Text;

/// <summary>A step as a screen: code, registers, exit and memory side by side.</summary>
internal static class StepScreen
{
    private const int BytesOfLine = 8;
    private static readonly string[] s_early = ["rip", "rflags", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "cr0", "cr2", "cr3", "cr4", "efer", "cs", "ds", "ss"];

    /// <summary>The screen with control sequences for colours, as high as it needs.</summary>
    public static string Of(StepView view, Lab lab, bool canGoBack, int columns, int rows)
    {
        using var writer = new StringWriter(CultureInfo.InvariantCulture);
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = AnsiSupport.Yes,
            ColorSystem = ColorSystemSupport.Standard,
            Interactive = InteractionSupport.No,
            Out = new Sized(writer, Math.Clamp(columns, 60, 200), Math.Max(rows, 10)),
        });
        console.Profile.Capabilities.Unicode = true;
        var upper = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn(new GridColumn().NoWrap());
        upper.AddRow(new Panel(Code(view)).Header($" lab {lab.Number} on {view.Engine}, step {view.Steps} "), new Panel(Registers(view)).Header(view.Vcpus > 1 ? $" registers of vcpu{view.Vcpu} " : " registers "));
        upper.AddRow(new Panel(Exit(view)).Header($" exit {view.Exits} "), new Panel(Memory(view)).Header(" memory "));
        console.Write(upper);
        console.Write(new Markup(view.End is { } end ? $"[bold]the program {Plain(end)}[/]   " : ""));
        console.Write(new Markup($"[grey]s step   c to the next exit   {(canGoBack ? "b back   " : "")}q end[/]"));
        return writer.ToString();
    }

    private static Markup Code(StepView view)
    {
        var text = new StringBuilder();
        foreach (var line in view.Source)
            text.Append(CultureInfo.InvariantCulture, $"{(line.Current ? "[invert]" : "")}{line.Line,4}  {Plain(Cut(line.Text, 60))}{(line.Current ? "[/]" : "")}\n");
        if (view.Source.Count == 0)
            text.Append("(outside of the program)\n");
        text.Append(CultureInfo.InvariantCulture, $"\n0x{view.Address:x}  [bold]{Plain(view.Instruction)}[/]");
        return new Markup(text.ToString());
    }

    private static Markup Registers(StepView view)
    {
        var shown = s_early.Select(name => view.Registers.FirstOrDefault(register => register.Name == name)).Where(register => register.Name is not null);
        return new Markup(string.Join('\n', shown.Select(register =>
            string.Create(CultureInfo.InvariantCulture, $"{register.Name,-6} {(register.Changed ? "[yellow]" : "")}{register.Value:x16}{(register.Changed ? "[/]" : "")}"))));
    }

    private static Markup Exit(StepView view)
    {
        var text = new StringBuilder();
        text.Append(view.LastExit is { } exit ? $"[yellow]{exit.Reason}[/]\n{Plain(exit.What)}\n" : "none in this step\n\n");
        text.Append("console: ").Append(Plain(Cut(VisibleText.Escape(view.Console.Length > 50 ? view.Console[^50..] : view.Console), 50)));
        return new Markup(text.ToString());
    }

    private static Markup Memory(StepView view)
    {
        var text = new StringBuilder();
        foreach (var part in view.Memory)
        {
            text.Append(CultureInfo.InvariantCulture, $"[grey]{Plain(part.Name)}[/]\n");
            for (int at = 0; at < Math.Min(part.Bytes.Length, 4 * BytesOfLine); at += BytesOfLine)
                text.Append(CultureInfo.InvariantCulture, $"{part.Address + (ulong)at:x8}  {string.Join(' ', part.Bytes.Skip(at).Take(BytesOfLine).Select(b => b.ToString("x2", CultureInfo.InvariantCulture)))}\n");
        }

        return new Markup(text.ToString().TrimEnd());
    }

    /// <summary>A source is a file of somebody's: nothing of it is a control sequence or markup.</summary>
    private static string Plain(string text) => Markup.Escape(VisibleText.Escape(text.Replace('\t', ' ')));

    private static string Cut(string text, int most) => text.Length > most ? text[..(most - 1)] + "…" : text;

    private sealed class Sized(TextWriter writer, int width, int height) : IAnsiConsoleOutput
    {
        public TextWriter Writer => writer;

        public bool IsTerminal => true;

        public int Width => width;

        public int Height => height;

        public void SetEncoding(Encoding encoding)
        {
        }
    }
}
