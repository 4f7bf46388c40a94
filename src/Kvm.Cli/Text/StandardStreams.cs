using System.Text;

namespace Kvm.Cli.Text;

/// <summary>
/// Standard output and error, as plain descriptors. <see cref="Console.Out"/> is not used: it sets up the terminal (terminfo,
/// signal handlers, its own idea of the modes), which costs time at start and would fight with raw mode.
/// </summary>
internal static class StandardStreams
{
    /// <summary>Writes text to standard output.</summary>
    public static void Output(string text) => Write(Console.OpenStandardOutput(), text);

    /// <summary>Writes text to standard error.</summary>
    public static void Error(string text) => Write(Console.OpenStandardError(), text);

    private static void Write(Stream stream, string text)
    {
        try
        {
            // Unbuffered: a message of a process that dies next is not lost.
            stream.Write(Encoding.UTF8.GetBytes(text));
        }
        catch (IOException)
        {
            // A full disk or a closed descriptor: nobody is left to be told.
        }
    }
}
