using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Labs.Catalog;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Text;

/// <summary>A step as one line of text, or as one JSON object.</summary>
internal static class StepText
{
    /// <summary>Step, line, address, instruction; then what the step before changed, and its exit.</summary>
    public static string Line(StepView view)
    {
        var text = new StringBuilder();
        foreach (var register in view.Registers.Where(register => register.Changed && register.Name != "rip"))
            text.Append(CultureInfo.InvariantCulture, $"         {register.Name} = 0x{register.Value:x}\n");
        if (view.LastExit is { } exit)
            text.Append(CultureInfo.InvariantCulture, $"         {exit.Reason}: {VisibleText.Escape(exit.What)}\n");
        if (view.End is { } end)
            return text.Append("the program ").Append(VisibleText.Escape(end)).Append('\n').ToString();
        int line = view.Source.FirstOrDefault(source => source.Current).Line;
        text.Append(CultureInfo.InvariantCulture, $"{view.Steps,6}  {(view.Vcpus > 1 ? $"vcpu{view.Vcpu}  " : "")}0x{view.Address:x}  {(line > 0 ? $"line {line}" : ""),-9} {view.Instruction}\n");
        return text.ToString();
    }

    /// <summary>The same for programs.</summary>
    public static void Write(Utf8JsonWriter json, StepView view)
    {
        json.WriteStartObject();
        json.WriteNumber("step", view.Steps);
        json.WriteString("engine", view.Engine);
        json.WriteNumber("vcpu", view.Vcpu);
        json.WriteString("address", LabText.Hex(view.Address));
        json.WriteString("instruction", view.Instruction);
        json.WriteNumber("line", view.Source.FirstOrDefault(source => source.Current).Line);
        json.WriteStartObject("registers");
        foreach (var register in view.Registers)
            json.WriteString(register.Name, LabText.Hex(register.Value));
        json.WriteEndObject();
        json.WriteStartArray("changed");
        foreach (var register in view.Registers.Where(register => register.Changed))
            json.WriteStringValue(register.Name);
        json.WriteEndArray();
        json.WritePropertyName("exit");
        if (view.LastExit is { } exit)
            LabText.Write(json, exit);
        else
            json.WriteNullValue();
        json.WriteString("console", view.Console);
        json.WriteString("end", view.End);
        json.WriteEndObject();
    }
}
