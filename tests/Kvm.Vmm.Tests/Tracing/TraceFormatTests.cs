using System.Text;
using System.Text.Json;
using Kvm.Interop;
using Kvm.Vmm.Tracing;

namespace Kvm.Vmm.Tests.Tracing;

public class TraceFormatTests
{
    [Fact]
    public void Text_has_names_place_instruction_deed_cost_and_changed_registers() =>
        Samples.Text(TraceFormat.Text, Samples.Serial()).Should().Be("""
            #1 0.000001s vcpu0 KVM_EXIT_IO | VT-x IO_INSTRUCTION (30) | AMD-V IOIO (0x7b) | SDM vol. 3, appendix C; “Instructions That Cause VM Exits Conditionally”; APM vol. 2, appendix C and 15.10
                1000: out dx,al
                wrote 0x41 'A' to port 0x3f8 (COM1_DATA), 2.5 us
                rax=41 rdx=3f8

            """.ReplaceLineEndings("\n"));

    [Fact]
    public void JSON_has_an_object_a_line()
    {
        string[] lines = Samples.Text(TraceFormat.Json, Samples.Serial(), Samples.Serial(2)).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        lines.Should().HaveCount(2);
        var exit = JsonDocument.Parse(lines[1]).RootElement;
        exit.GetProperty("number").GetInt64().Should().Be(2);
        exit.GetProperty("kvm").GetString().Should().Be("KVM_EXIT_IO");
        exit.GetProperty("vmx").GetString().Should().Be("IO_INSTRUCTION (30)");
        exit.GetProperty("instruction").GetString().Should().Be("out dx,al");
        exit.GetProperty("changed").GetProperty("rdx").GetString().Should().Be("0x3f8");
        exit.GetProperty("costNs").GetInt64().Should().Be(2_500);
    }

    [Fact]
    public void A_Chrome_trace_is_one_document_with_a_thread_for_each_vCPU()
    {
        var json = JsonDocument.Parse(Samples.Text(TraceFormat.Chrome, Samples.Serial(), Samples.Serial(2, vcpu: 3), Samples.Serial(3))).RootElement;
        var events = json.GetProperty("traceEvents").EnumerateArray().ToList();
        events.Where(e => e.GetProperty("ph").GetString() == "M").Select(e => e.GetProperty("tid").GetInt32()).Should().Equal(0, 3);
        var exits = events.Where(e => e.GetProperty("ph").GetString() == "X").ToList();
        exits.Should().HaveCount(3);
        exits[1].GetProperty("name").GetString().Should().Be("io COM1_DATA");
        exits[1].GetProperty("ts").GetDouble().Should().Be(2);
        exits[1].GetProperty("dur").GetDouble().Should().Be(2.5);
    }

    [Theory]
    [InlineData(TraceFormat.Text)]
    [InlineData(TraceFormat.Json)]
    [InlineData(TraceFormat.Chrome)]
    [InlineData(TraceFormat.Html)]
    public void What_a_guest_prints_cannot_steer_a_terminal(TraceFormat format)
    {
        string text = Samples.Text(format, [.. Enumerable.Range(0, 256).Select(c => Samples.Serial(c + 1, (byte)c))]);
        text.Should().NotContainAny("\u001b", "\a", "\b", "\u0085", "\u007f").And.NotContain("\r");
        text.Should().Contain("x1b", "an escape is shown as one");
    }

    [Theory]
    [InlineData(TraceFormat.Text)]
    [InlineData(TraceFormat.Json)]
    [InlineData(TraceFormat.Chrome)]
    [InlineData(TraceFormat.Binary)]
    public void A_full_output_keeps_whole_exits_and_says_how_many_are_missing(TraceFormat format)
    {
        byte[] document = Samples.Document(format, 4_096, null, [.. Enumerable.Range(1, 200).Select(n => Samples.Serial(n))]);
        document.Length.Should().BeInRange(3_000, 4_096);
        if (format == TraceFormat.Chrome)
            JsonDocument.Parse(document).RootElement.GetProperty("otherData").GetProperty("lostExits").GetString().Should().NotBe("0");
        else if (format == TraceFormat.Json)
            JsonDocument.Parse(Encoding.UTF8.GetString(document).TrimEnd('\n').Split('\n')[^1]).RootElement.GetProperty("lost").GetInt64().Should().BePositive();
        else if (format == TraceFormat.Text)
            Encoding.UTF8.GetString(document).TrimEnd('\n').Split('\n')[^1].Should().MatchRegex("^# [0-9]+ exits were left away$");
        else
            TraceReader.Replay(new MemoryStream(document), "t", new TraceFilter(), TraceFormat.Text, Stream.Null, long.MaxValue, null).Lost.Should().BePositive();
    }

    [Fact]
    public void A_page_holds_what_a_guest_wrote_as_data_that_is_no_markup()
    {
        string page = Samples.Text(TraceFormat.Html, [.. Enumerable.Range(0, 256).Select(c => Samples.Serial(c + 1, (byte)c))]);
        const string begin = "<script type=\"application/json\" id=\"exits\">";
        string data = page[(page.IndexOf(begin, StringComparison.Ordinal) + begin.Length)..page.LastIndexOf("</script>", StringComparison.Ordinal)];
        data.Should().NotContainAny("<", ">", "&");
        var exits = JsonDocument.Parse(data).RootElement;
        exits.GetArrayLength().Should().Be(256);
        exits[(int)'<'].GetProperty("did").GetString().Should().Contain("'<'");
    }

    [Theory]
    [InlineData("style", "style-src")]
    [InlineData("script", "script-src")]
    public void A_page_s_policy_lets_nothing_run_but_its_own(string tag, string directive)
    {
        string page = Samples.Text(TraceFormat.Html, Samples.Serial());
        int start = page.IndexOf($"<{tag}>", StringComparison.Ordinal) + tag.Length + 2;
        string content = page[start..page.IndexOf($"</{tag}>", start, StringComparison.Ordinal)];
        string hash = Convert.ToBase64String(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(content)));
        page.Should().Contain($"{directive} 'sha256-{hash}'").And.Contain("default-src 'none'").And.NotContain("unsafe");
        page.Should().NotContain("innerHTML");
    }

    [Fact]
    public void A_page_that_is_full_is_whole_and_one_without_room_is_nothing()
    {
        var exits = Enumerable.Range(1, 500).Select(n => Samples.Serial(n)).ToArray();
        string page = Encoding.UTF8.GetString(Samples.Document(TraceFormat.Html, 40_000, null, exits));
        page.Length.Should().BeInRange(38_000, 40_000);
        page.Should().EndWith("</html>\n").And.MatchRegex("id=\"lost\" value=\"[1-9][0-9]*\"");
        Samples.Document(TraceFormat.Html, 2_000, null, exits).Should().BeEmpty();
    }

    [Theory]
    [InlineData(KvmExit.InternalError, true, "completed out in software")]
    [InlineData(KvmExit.InternalError, false, "saw it; the vCPU stops here")]
    [InlineData(KvmExit.Shutdown, false, "saw a triple fault; the vCPU stops here")]
    [InlineData(KvmExit.Debug, true, "handled a breakpoint of its own")]
    [InlineData((KvmExit)77, true, "went on")]
    public void What_was_done_is_said_of_every_reason(KvmExit reason, bool goesOn, string deed)
    {
        var sample = Samples.Serial() with { Reason = reason, Size = 0, GoesOn = goesOn };
        Samples.Text(TraceFormat.Text, sample).Should().Contain($"\n    {deed}, ");
    }

    [Fact]
    public void Accesses_to_memory_and_MSRs_and_string_forms_are_told_with_their_place()
    {
        Samples.Text(TraceFormat.Text, Samples.Serial() with { Reason = KvmExit.Mmio, Address = 0xfee0_00b0, Size = 4, Value = 0 }).Should().Contain("wrote 0x0 to 0xfee000b0 (local-apic)");
        Samples.Text(TraceFormat.Text, Samples.Serial() with { Reason = KvmExit.X86Wrmsr, Address = 0x6e0, Size = 8, Value = 5 }).Should().Contain("wrote 0x5 to MSR 0x6e0 (IA32_TSC_DEADLINE)");
        Samples.Text(TraceFormat.Text, Samples.Serial() with { Count = 12, IsWrite = false }).Should().Contain("read 0x41 from port 0x3f8 (COM1_DATA), 12 times, at first");
    }
}
