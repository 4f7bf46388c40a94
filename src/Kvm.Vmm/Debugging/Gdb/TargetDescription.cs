using System.Text;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>The description of the registers that gdb asks for (target.xml; "Debugging with GDB", appendix G).</summary>
internal static class TargetDescription
{
    private static readonly string[] s_flags = ["CF", "", "PF", "", "AF", "", "ZF", "SF", "TF", "IF", "DF", "OF", "", "", "NT", "", "RF", "VM", "AC", "VIF", "VIP", "ID"];

    /// <summary>Writes it for a set of registers.</summary>
    public static byte[] Write(GdbRegisters registers)
    {
        var xml = new StringBuilder();
        xml.Append("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n");
        xml.Append($"<architecture>{(registers.IsWide ? "i386:x86-64" : "i386")}</architecture>\n");
        string? feature = null;
        foreach (var register in registers.All)
        {
            if (register.Feature != feature)
            {
                xml.Append(feature is null ? "" : "</feature>\n");
                feature = register.Feature;
                xml.Append($"<feature name=\"{feature}\">\n");
                WriteTypes(xml, feature);
            }

            string group = feature == GdbRegisters.System ? " group=\"system\"" : register.Kind is GdbRegisterKind.St or GdbRegisterKind.FpuControl ? " group=\"float\"" : "";
            xml.Append($"<reg name=\"{register.Name}\" bitsize=\"{register.Bits}\" type=\"{register.Type}\"{group}/>\n");
        }

        xml.Append("</feature>\n</target>\n");
        return Encoding.ASCII.GetBytes(xml.ToString());
    }

    private static void WriteTypes(StringBuilder xml, string feature)
    {
        if (feature == GdbRegisters.Core)
        {
            xml.Append("<flags id=\"i386_eflags\" size=\"4\">\n");
            for (int bit = 0; bit < s_flags.Length; bit++)
            {
                if (s_flags[bit].Length > 0)
                    xml.Append($"<field name=\"{s_flags[bit]}\" start=\"{bit}\" end=\"{bit}\"/>\n");
            }

            xml.Append("</flags>\n");
        }

        if (feature != GdbRegisters.Sse)
            return;
        foreach (var (id, type, count) in ((string, string, int)[])
            [("v4f", "ieee_single", 4), ("v2d", "ieee_double", 2), ("v16i8", "int8", 16), ("v8i16", "int16", 8), ("v4i32", "int32", 4), ("v2i64", "int64", 2)])
        {
            xml.Append($"<vector id=\"{id}\" type=\"{type}\" count=\"{count}\"/>\n");
        }

        xml.Append("<union id=\"vec128\">\n");
        foreach (var (name, type) in ((string, string)[])
            [("v4_float", "v4f"), ("v2_double", "v2d"), ("v16_int8", "v16i8"), ("v8_int16", "v8i16"), ("v4_int32", "v4i32"), ("v2_int64", "v2i64"), ("uint128", "uint128")])
        {
            xml.Append($"<field name=\"{name}\" type=\"{type}\"/>\n");
        }

        xml.Append("</union>\n");
    }
}
