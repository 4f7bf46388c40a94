using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network.Switching;

/// <summary>Names of switches, and what stands for them in the runtime folder: a socket and a lock.</summary>
internal static class SwitchName
{
    /// <summary>Bytes of a name at most.</summary>
    public const int Most = 32;

    /// <summary>What is wrong with a name, or null: one that passes is a file's name of this folder and no other.</summary>
    public static string? Problem(string name) =>
        name.Length is 0 or > Most || !char.IsAsciiLetterOrDigit(name[0]) || name.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('-' or '_' or '.'))
            ? $"has the switch's name {VisibleText.Quote(name, 40)}; names have 1 to {Most} letters, digits, dashes, underscores and dots, and begin with a letter or a digit"
            : null;

    /// <summary>The socket and the lock of a switch.</summary>
    /// <param name="folder">Where they are.</param>
    /// <param name="name">The switch's name.</param>
    /// <exception cref="VmmException">The name cannot be, or the folder's is too long for a socket.</exception>
    public static (string Socket, string Lock) PathsOf(string folder, string name)
    {
        if (Problem(name) is { } problem)
            throw new VmmException(NetworkErrors.NoSwitch, problem);
        string path = Path.Combine(folder, $"switch-{name}");
        return System.Text.Encoding.UTF8.GetByteCount(path) + 5 > UnixListener.MaxPathBytes
            ? throw new VmmException(NetworkErrors.NoSwitch, $"{VisibleText.Quote(path)}.sock is longer than a socket's path may be, {UnixListener.MaxPathBytes} bytes")
            : (path + ".sock", path + ".lock");
    }
}
