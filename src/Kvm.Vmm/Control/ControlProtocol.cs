using System.Text;

namespace Kvm.Vmm.Control;

/// <summary>
/// What goes over a running guest's control socket, version 1. The client sends one line of at most <see cref="MostRequestBytes"/> bytes:
/// <c>kvmsharp/1</c>, the word of an <see cref="IControlRequest"/> and what belongs to it, with one blank between. The guest answers with
/// lines of JSON, each at most <see cref="MostAnswerBytes"/>, and hangs up behind the last one or when the guest has ended. A request that is
/// not understood is answered by one line with the member <c>error</c>.
/// </summary>
public static class ControlProtocol
{
    /// <summary>The first word of a request.</summary>
    public const string Version = "kvmsharp/1";

    /// <summary>The longest request with its end.</summary>
    public const int MostRequestBytes = 8192;

    /// <summary>The longest line of an answer.</summary>
    public const int MostAnswerBytes = 1 << 20;

    /// <summary>The longest name that a guest's socket can have.</summary>
    public const int MostNameLength = 64;

    /// <summary>A guest's socket: <c>vms/NAME.sock</c> below the runtime folder; null for names that are no file names.</summary>
    /// <param name="runtimeFolder">Where sockets are.</param>
    /// <param name="name">The guest's name.</param>
    public static string? PathOf(string runtimeFolder, string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Length is > 0 and <= MostNameLength && name[0] != '.' && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.')
            ? Path.Combine(runtimeFolder, "vms", name + ".sock")
            : null;
    }

    /// <summary>A request as a line.</summary>
    internal static byte[] Line(string request) => Encoding.UTF8.GetBytes($"{Version} {request}\n");

    /// <summary>Understands a line without its end; what is wrong with it, or null.</summary>
    /// <param name="line">The line.</param>
    /// <param name="requests">What can be asked.</param>
    /// <param name="target">The guest.</param>
    /// <param name="reply">The answer, where nothing is wrong.</param>
    internal static string? Begin(ReadOnlySpan<byte> line, IEnumerable<IControlRequest> requests, ControlTarget target, out ControlReply? reply)
    {
        reply = null;
        string[] words = Encoding.UTF8.GetString(line).Split(' ');
        if (words[0] != Version)
            return $"this guest speaks {Version}";
        string name = words.Length > 1 ? words[1] : "";
        if (requests.FirstOrDefault(known => known.Name == name) is not { } request)
            return $"the request is none of: {string.Join(", ", requests.Select(known => known.Form))}";
        reply = request.Begin(target, words[2..]);
        return reply is null ? $"the request is not: {request.Form}" : null;
    }
}
