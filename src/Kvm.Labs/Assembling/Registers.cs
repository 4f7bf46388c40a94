using System.Collections.Frozen;
using Iced.Intel;

namespace Kvm.Labs.Assembling;

/// <summary>The registers by their names.</summary>
internal static class Registers
{
    private static readonly FrozenDictionary<string, Register> _byName = Make();

    /// <summary>The register of a name, or <see cref="Register.None"/>.</summary>
    public static Register Find(string name) => _byName.GetValueOrDefault(name);

    private static FrozenDictionary<string, Register> Make()
    {
        var names = new Dictionary<string, Register>(StringComparer.OrdinalIgnoreCase);
        // Ranges without gaps, in the order of Iced's list.
        (Register First, Register Last)[] ranges =
        [
            (Register.AL, Register.R15L), (Register.AX, Register.R15W), (Register.EAX, Register.R15D), (Register.RAX, Register.R15),
            (Register.ES, Register.GS), (Register.XMM0, Register.XMM15), (Register.MM0, Register.MM7), (Register.ST0, Register.ST7),
            (Register.CR0, Register.CR15), (Register.DR0, Register.DR15),
        ];
        foreach (var (first, last) in ranges)
        {
            for (var register = first; register <= last; register++)
                names[register.ToString()] = register;
        }

        for (int i = 8; i < 16; i++)
            names[$"r{i}b"] = Register.R8L + (i - 8);
        return names.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);
    }
}
