using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Text;

/// <summary>Standard output and error for texts of the program's own.</summary>
internal static class StandardStreams
{
    /// <summary>Writes text to standard output.</summary>
    /// <exception cref="VmmException">It cannot be written.</exception>
    public static void Output(string text) => TerminalDescriptors.Write(TerminalDescriptors.Output, text);

    /// <summary>Text that takes the place of what is on a terminal: home, then what is below is cleared, without a flicker.</summary>
    public static string InPlace(string text) => $"\x1b[H{text.Replace("\n", "\x1b[K\n", StringComparison.Ordinal)}\x1b[J";

    /// <summary>Writes text to standard error. If that does not take it, nobody is left to be told.</summary>
    public static void Error(string text)
    {
        try
        {
            TerminalDescriptors.Write(TerminalDescriptors.Error, text);
        }
        catch (VmmException)
        {
            // See above.
        }
    }
}
