using System.Globalization;
using System.Text;

namespace Kvm.Vmm.Control;

/// <summary>
/// What goes over a running guest's control socket, version 1. The client sends one line of at most <see cref="MostRequestBytes"/> bytes:
/// <c>kvmsharp/1 stats INTERVAL COUNT</c>, milliseconds and a number of answers (0: without end). The guest answers with lines of JSON, each
/// at most <see cref="MostAnswerBytes"/>, and hangs up behind the last one or when the guest has ended. A request that is not understood is
/// answered by one line with the member <c>error</c>.
/// </summary>
internal static class ControlProtocol
{
    public const string Version = "kvmsharp/1";
    public const int MostRequestBytes = 256;
    public const int MostAnswerBytes = 1 << 20;
    public const int LeastIntervalMs = 50;
    public const int MostIntervalMs = 3_600_000;

    /// <summary>A guest's socket: <c>vms/NAME.sock</c> below the runtime folder; null for names that are no file names.</summary>
    public static string? PathOf(string runtimeFolder, string name) =>
        name.Length is > 0 and <= 64 && name[0] != '.' && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
            ? Path.Combine(runtimeFolder, "vms", name + ".sock")
            : null;

    /// <summary>The request as a line.</summary>
    public static byte[] Request(TimeSpan interval, long count) =>
        Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{Version} stats {(long)interval.TotalMilliseconds} {count}\n"));

    /// <summary>Understands a line without its end; what is wrong with it, or null.</summary>
    public static string? Parse(ReadOnlySpan<byte> line, out TimeSpan interval, out long count)
    {
        (interval, count) = (default, 0);
        string[] words = Encoding.ASCII.GetString(line).Split(' ');
        if (words[0] != Version)
            return $"this guest speaks {Version}";
        if (words.Length != 4 || words[1] != "stats"
            || !int.TryParse(words[2], NumberStyles.None, CultureInfo.InvariantCulture, out int ms) || ms is < LeastIntervalMs or > MostIntervalMs
            || !long.TryParse(words[3], NumberStyles.None, CultureInfo.InvariantCulture, out count))
        {
            return "the request is not: stats INTERVAL COUNT";
        }

        interval = TimeSpan.FromMilliseconds(ms);
        return null;
    }
}
