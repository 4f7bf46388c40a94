using Kvm.Vmm;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Text;

/// <summary>Standard output and error for texts of the program's own.</summary>
internal static class StandardStreams
{
    /// <summary>Writes text to standard output.</summary>
    /// <exception cref="VmmException">It cannot be written.</exception>
    public static void Output(string text) => TerminalDescriptors.Write(TerminalDescriptors.Output, text);

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
