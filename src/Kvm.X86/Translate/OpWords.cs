// Invariants: looks at an op's fields alone; a handler's address is only compared.
using System.Globalization;
using Iced.Intel;
using Kvm.X86.Decode;
using Kvm.X86.Execute;

namespace Kvm.X86.Translate;

/// <summary>An op in words: what its handler does, its operand size in bits, its operand kinds.</summary>
internal static class OpWords
{
    private static readonly string[] Conditions = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"];

    /// <summary>For example <c>add.64 reg,imm</c>.</summary>
    public static string Of(in Op op)
    {
        var info = OpCatalog.Find(op.Fn);
        string what = info.Family switch
        {
            OpFamily.None => "handler",
            OpFamily.Alu => Sized(Name((AluKind)info.Kind), info) + Form(((AluForm)info.Form).ToString()),
            OpFamily.Unary => Sized(Name((UnaryKind)info.Kind), info) + Form(((UnaryForm)info.Form).ToString()),
            OpFamily.Shift => Sized(Name((ShiftKind)info.Kind), info) + (info.Form == 1 ? " by-cl" : ""),
            OpFamily.DoubleShift => Sized(info.Kind != 0 ? "shld" : "shrd", info),
            OpFamily.Mov => Sized("mov", info) + Form(((MovForm)info.Form).ToString()),
            OpFamily.Extend => Sized((info.Kind & 1) != 0 ? "movsx" : "movzx", info) + Number("-", (info.Kind >> 1) * 8) + Form(((ExtendForm)info.Form).ToString()),
            OpFamily.Mul => Sized("mul", info) + Form(((MulForm)info.Form).ToString()),
            OpFamily.Bit => Sized("bit-" + Name((BitKind)info.Kind), info) + Form(((BitForm)info.Form).ToString()),
            OpFamily.Scan => Sized(Name((ScanKind)info.Kind), info),
            OpFamily.Condition => Name((ConditionUse)info.Kind) + "-if-" + Conditions[info.Form & 15],
            OpFamily.Fused => Sized((info.Kind & 1) != 0 ? "test" : "cmp", info) + ((info.Kind & 2) != 0 ? " reg-imm" : " reg-reg") + ", jump-if-" + Conditions[info.Form & 15],
            OpFamily.Atomic => Sized(Name((AtomicKind)info.Kind), info),
            _ => Simple((SimpleKind)info.Kind, op),
        };
        return op.IsLocked ? "lock " + what : what;
    }

    private static string Simple(SimpleKind kind, in Op op) => kind is SimpleKind.Helper or SimpleKind.HelperEnd or SimpleKind.HelperRepeat && op.CodeValue != Op.NoCode
        ? $"{Name(kind)} {Lower(op.Code.Mnemonic().ToString())}"
        : Name(kind);

    private static string Sized(string name, in OpInfo info) => name + Number(".", info.Size * 8);

    private static string Number(string before, int number) => before + number.ToString(CultureInfo.InvariantCulture);

    /// <summary>RegMemX becomes <c> reg-mem-x</c>.</summary>
    private static string Form(string name) => " " + Lower(name);

    private static string Name<T>(T value) where T : struct, Enum => Lower(value.ToString());

    private static string Lower(string name)
    {
        var text = new System.Text.StringBuilder();
        foreach (char c in name)
        {
            if (char.IsAsciiLetterUpper(c) && text.Length > 0)
                text.Append('-');
            text.Append(char.ToLowerInvariant(c));
        }

        return text.ToString();
    }
}
