using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;

namespace Kvm.Manager;

/// <summary>Names of machines: names of files too, and none that looks like another. Thread-safe: no state.</summary>
public static class VmName
{
    /// <summary>Whether a text can be a machine's name.</summary>
    public static bool IsName(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return ControlProtocol.PathOf("", text) is not null && text[0] != '-';
    }

    /// <summary>Refuses what cannot be a name.</summary>
    /// <returns>The text.</returns>
    /// <exception cref="VmmException">KVM0602: it cannot.</exception>
    public static string Check(string text) =>
        IsName(text) ? text : throw new VmmException(ManagerErrors.BadName, text.Length == 0 ? "the name is empty" : Why(text));

    private static string Why(string text)
    {
        string shown = VisibleText.Quote(text, 64);
        if (text.Length > ControlProtocol.MostNameLength)
            return $"{shown} is longer than {ControlProtocol.MostNameLength} characters";
        if (text[0] is '.' or '-')
            return $"{shown} begins with '{text[0]}'";
        int stray = text.EnumerateRunes().Select(rune => rune.Value).First(c => c > 0x7f || (!char.IsAsciiLetterOrDigit((char)c) && c is not ('-' or '_' or '.')));
        return $"{shown} has the character {(stray < 0x7f ? VisibleText.Quote($"{(char)stray}") : $"U+{stray:X4}")}";
    }
}
