using System.Text;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;
using Kvm.Vmm.Tracing;

namespace Kvm.Boot.Tests.Tracing;

/// <summary>Traces of Linux: what the engines tell of an exit is what the guest did.</summary>
public class TraceBootTests
{
    private const int Many = 3_000;

    [SkippableFact]
    public void Translated_code_and_interpreted_code_make_the_same_exits_with_the_same_registers()
    {
        var translated = Trace(c => c);
        translated.Should().HaveCount(Many);
        Trace(c => c with { Translate = false }).Should().Equal(translated);
    }

    [SkippableFact]
    public void Each_exit_of_Linux_names_its_function_and_an_instruction_that_can_have_made_it()
    {
        var exits = Trace(c => c).Select(line => JsonDocument.Parse(line).RootElement).ToList();
        exits.Select(e => e.GetProperty("reason").GetString()).Should().Contain(["io", "mmio"]).And.OnlyContain(reason => reason == "io" || reason == "mmio");
        exits.Where(e => e.GetProperty("reason").GetString() == "io").Select(e => e.GetProperty("instruction").GetString()!.Split(' ')[0]).Should().OnlyContain(word => word == "out" || word == "in");
        exits.Should().OnlyContain(e => e.GetProperty("symbol").ValueKind == JsonValueKind.String);
        exits.Select(e => e.GetProperty("symbol").GetString()!.Split('+')[0]).Should().Contain("pci_conf1_read");
    }

    /// <summary>The first exits as JSON, without what the host's clock says.</summary>
    private static List<string> Trace(Func<VmConfig, VmConfig> change)
    {
        string kernel = GuestFiles.Require("small/vmlinux");
        var output = new MemoryStream();
        using var trace = new ExitTrace(new TraceFilter { Count = Many }, TraceFormat.Json, output, long.MaxValue, SymbolTable.Load(kernel));
        using (var vm = VirtualMachine.Build(change(new VmConfig { KernelPath = kernel, Engine = EngineChoice.Soft, Deterministic = true }), new VmHost { Trace = trace }))
        {
            vm.Stopping += trace.Release;
            trace.Complete += () => vm.Stop(VmOutcome.StoppedByUser);
            vm.Start();
            vm.Ended.GetAwaiter().GetResult();
        }

        trace.Finish();
        return [.. Encoding.UTF8.GetString(output.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(WithoutTimes)];
    }

    private static string WithoutTimes(string line)
    {
        var exit = JsonDocument.Parse(line).RootElement;
        return JsonSerializer.Serialize(exit.EnumerateObject().Where(m => m.Name is not ("timeNs" or "costNs")).ToDictionary(m => m.Name, m => m.Value));
    }
}
