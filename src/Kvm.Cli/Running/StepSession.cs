using Kvm.Cli.Text;
using Kvm.Labs.Catalog;
using Kvm.Vmm;
using Kvm.Vmm.Host;
using Microsoft.Win32.SafeHandles;

namespace Kvm.Cli.Running;

/// <summary>Steps through a lab: by keys on a terminal, else to the end or to a number of steps.</summary>
internal static class StepSession
{
    private const int ControlC = 3, ControlD = 4, LineFeed = 10, Return = 13, Closed = -1;

    private const string Enter = "\x1b[?1049h\x1b[?25l", Leave = "\x1b[?25h\x1b[?1049l";

    public static int Run(LabStepper stepper, Lab lab, int steps, bool json)
    {
        bool terminal = TerminalDescriptors.IsForegroundTerminal(TerminalDescriptors.Input) && TerminalDescriptors.IsTerminal(TerminalDescriptors.Output);
        if (terminal && !json)
            return ByKeys(stepper, lab);
        Print(stepper, json);
        for (int i = 0; i < steps && !stepper.HasEnded; i++)
        {
            stepper.Step();
            Print(stepper, json);
        }

        return ExitCode.Success;
    }

    private static void Print(LabStepper stepper, bool json)
    {
        var view = stepper.View();
        StandardStreams.Output(json ? JsonText.Line(writer => StepText.Write(writer, view)) : StepText.Line(view));
    }

    private static int ByKeys(LabStepper stepper, Lab lab)
    {
        using var mode = TerminalMode.TryEnter(TerminalDescriptors.Input);
        using var keys = new FileStream(new SafeFileHandle(TerminalDescriptors.Input, ownsHandle: false), FileAccess.Read, 1);
        // The alternate screen, so that what was there before comes back.
        StandardStreams.Output(Enter);
        // Whoever is ended from outside leaves the terminal as it was.
        using var signals = new SignalGuard(
            number =>
            {
                mode?.Restore();
                StandardStreams.Output(Leave);
                Environment.Exit(128 + number);
            },
            () => mode?.Enter());
        try
        {
            while (true)
            {
                Draw(stepper, lab);
                int key = keys.ReadByte();
                switch (key)
                {
                    case 's' or ' ' or Return or LineFeed:
                        stepper.Step();
                        break;
                    case 'c':
                        stepper.Continue();
                        break;
                    case 'b':
                        stepper.Back();
                        break;
                    case 'q' or ControlC or ControlD or Closed:
                        return ExitCode.Success;
                }
            }
        }
        finally
        {
            StandardStreams.Output(Leave);
        }
    }

    private static void Draw(LabStepper stepper, Lab lab)
    {
        if (!TerminalDescriptors.TryGetSize(TerminalDescriptors.Output, out ushort columns, out ushort rows) || columns == 0)
            (columns, rows) = (100, 40);
        StandardStreams.Output("\x1b[H\x1b[2J" + StepScreen.Of(stepper.View(), lab, stepper.CanGoBack, columns, rows).ReplaceLineEndings("\r\n"));
    }
}
