using System.Globalization;
using Kvm.Vmm.Configuration;

namespace Kvm.Manager.Memory;

/// <summary>How a machine has its memory of the host. Immutable.</summary>
/// <param name="IsDynamic">Its balloon is moved; else it is fixed: all of its size is kept free for it, or it does not start.</param>
/// <param name="Min">Bytes that it is never left less than; null: a quarter of its size.</param>
/// <param name="Max">Bytes that it is never given more than; null: its size.</param>
/// <param name="Weight">Its share, 1 to 1000.</param>
public sealed record MemorySetting(bool IsDynamic, ulong? Min = null, ulong? Max = null, int Weight = 100)
{
    /// <summary>Understands <c>fixed</c> and <c>dynamic[,min=SIZE][,max=SIZE][,weight=N]</c>; null for anything else.</summary>
    public static MemorySetting? Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split(',');
        if (parts is ["fixed"])
            return new MemorySetting(false);
        if (parts[0] != "dynamic")
            return null;
        var setting = new MemorySetting(true);
        foreach (string part in parts[1..])
        {
            MemorySetting? next = part.Split('=', 2) switch
            {
                ["min", var size] when SizeText.TryParse(size, out ulong bytes) => setting with { Min = bytes },
                ["max", var size] when SizeText.TryParse(size, out ulong bytes) => setting with { Max = bytes },
                ["weight", var weight] when int.TryParse(weight, NumberStyles.None, CultureInfo.InvariantCulture, out int share) && share is >= 1 and <= 1000 => setting with { Weight = share },
                _ => null,
            };
            if (next is null)
                return null;
            setting = next;
        }

        return setting.Min > setting.Max ? null : setting;
    }
}
