using System.Text.Json;

namespace Kvm.Cli.Tests;

public class TraceTests
{
    [SkippableTheory]
    [InlineData("soft")]
    [InlineData("kvm")]
    public void Each_exit_of_a_guest_is_shown_and_its_console_only_there(string engine)
    {
        Require(engine);
        var ended = Published.Run("trace", Guests.Six, "--engine", engine);
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Error.Should().BeEmpty();
        var lines = ended.Output.Split('\n');
        lines.Where(line => line.StartsWith('#')).Should().HaveCount(2).And.OnlyContain(line => line.Contains("KVM_EXIT_IO | VT-x IO_INSTRUCTION (30) | AMD-V IOIO (0x7b)"));
        ended.Output.Should().Contain(": out dx,al\n").And.Contain("wrote 0x21 '!' to port 0x3f8 (COM1_DATA)").And.Contain("(DEBUG_EXIT)");
        lines.Should().NotContain(line => line.StartsWith('!'));
    }

    [SkippableFact]
    public void A_recorded_trace_replays_as_it_was()
    {
        Published.Require();
        var (recorded, cut) = (Guests.Nothing("trace"), Guests.Nothing("cut"));
        Published.Run("trace", Guests.Escape, "--engine", "soft", "--format", "binary", "--output", recorded).ExitCode.Should().Be(0);
        var replayed = Published.Run("trace", "--replay", recorded, "--json");
        replayed.ExitCode.Should().Be(0, replayed.Error);
        var exits = replayed.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement).ToList();
        exits.Select(exit => exit.GetProperty("value").GetString()).Take(4).Should().Equal("0x1b", "0x5b", "0x32", "0x4a");
        exits[0].GetProperty("did").GetString().Should().Contain("'\\x1b'");

        var bytes = File.ReadAllBytes(recorded);
        File.WriteAllBytes(cut, bytes[..(bytes.Length / 2)]);
        var half = Published.Run("trace", "--replay", cut);
        half.ExitCode.Should().Be(0);
        half.Error.Should().Contain("the trace was cut");
        half.Output.Should().StartWith("#1 ");
    }

    [SkippableFact]
    public void What_is_no_trace_is_3()
    {
        Published.Require();
        Published.Run("trace", "--replay", Guests.Six).ShouldFail(3, "KVM0028", "offset 0x10");
        Published.Run("trace", "--replay", "/nonexistent").ShouldFail(3, "KVM0028");
        Published.Run("trace", Guests.Six, "--symbols", "/nonexistent").ShouldFail(3, "KVM0029");
    }

    [SkippableTheory]
    [InlineData("--only|io,nonsense", "KVM0003")]
    [InlineData("--exit-port|0x3f8-0x3f0", "KVM0003")]
    [InlineData("--exit-port|70000", "KVM0003")]
    [InlineData("--exit-address|here", "KVM0003")]
    [InlineData("--from|0", "KVM0003")]
    [InlineData("--count|-1", "KVM0003")]
    [InlineData("--format|xml", "KVM0003")]
    [InlineData("--format|binary", "KVM0002")]
    [InlineData("--format|text|--json", "KVM0005")]
    [InlineData("--output|t,size=1", "KVM0003")]
    public void Wrong_usage_is_2(string options, string id)
    {
        Published.Require();
        Published.Run(["trace", Guests.Six, .. options.Split('|')]).ShouldFail(2, id);
    }

    [SkippableFact]
    public void After_so_many_exits_the_run_ends()
    {
        Published.Require();
        var ended = Published.Run("trace", Guests.Flood, "--engine", "soft", "--from", "100", "--count", "3");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Split('\n').Where(line => line.StartsWith('#')).Select(line => line.Split(' ')[0]).Should().Equal("#100", "#101", "#102");
    }

    [SkippableTheory]
    [InlineData("--exit-port|0xf4", 1)]
    [InlineData("--exit-port|0x3f8,0xf4", 2)]
    [InlineData("--only|mmio", 0)]
    [InlineData("--exit-address|0xfee00000-0xfee00fff", 0)]
    public void Filters_choose(string options, int shown)
    {
        Published.Require();
        var ended = Published.Run(["trace", Guests.Six, "--engine", "soft", .. options.Split('|')]);
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Split('\n').Count(line => line.StartsWith('#')).Should().Be(shown);
    }

    [SkippableTheory]
    [InlineData(2, 130)]
    [InlineData(15, 143)]
    public void A_signal_leaves_a_whole_document(int signal, int exitCode)
    {
        Published.Require();
        var path = Guests.Nothing("chrome");
        var process = Published.Start("trace", Guests.Flood, "--engine", "soft", "--format", "chrome", "--output", path);
        // The console is shown, because the trace goes to a file: the guest runs.
        process.StandardOutput.Read().Should().Be('x');
        Published.Signal(process, signal);
        Published.Finish(process).ExitCode.Should().Be(exitCode);
        using var json = JsonDocument.Parse(File.ReadAllBytes(path));
        json.RootElement.GetProperty("traceEvents").GetArrayLength().Should().BePositive();
    }

    [SkippableFact]
    public void The_time_limit_leaves_a_whole_document()
    {
        Published.Require();
        var path = Guests.Nothing("chrome");
        Published.Run("trace", Guests.Loop, "--engine", "soft", "--format", "chrome", "--output", path, "--timeout", "300ms").ExitCode.Should().Be(13);
        using var json = JsonDocument.Parse(File.ReadAllBytes(path));
        json.RootElement.GetProperty("otherData").GetProperty("lostExits").GetString().Should().Be("0");
    }

    [SkippableFact]
    public void A_file_that_is_full_is_a_whole_document_and_says_how_many_exits_are_missing()
    {
        Published.Require();
        var path = Guests.Nothing("chrome");
        var ended = Published.Run("trace", Guests.Flood, "--engine", "soft", "--format", "chrome", "--output", $"{path},size=64K", "--console", "none", "--count", "2000");
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Error.Should().MatchRegex("[0-9]+ of 2000 exits were left away");
        new FileInfo(path).Length.Should().BeInRange(60 << 10, 64 << 10);
        using var json = JsonDocument.Parse(File.ReadAllBytes(path));
        json.RootElement.GetProperty("otherData").GetProperty("lostExits").GetString().Should().NotBe("0");
    }

    [SkippableFact]
    public void A_browser_shows_the_page_with_what_the_guest_wrote_as_text()
    {
        Published.Require();
        var browser = new[] { "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome" }.FirstOrDefault(File.Exists);
        Skip.If(browser is null, "needs a browser: package chromium");
        var guest = Guests.Make("markup", a =>
        {
            a.mov(Iced.Intel.AssemblerRegisters.dx, 0x3f8);
            foreach (var c in "<b>&\u001b")
            {
                a.mov(Iced.Intel.AssemblerRegisters.al, (sbyte)c);
                a.@out(Iced.Intel.AssemblerRegisters.dx, Iced.Intel.AssemblerRegisters.al);
            }

            Kvm.Boot.Tests.TinyKernel.DebugExit(a, 0);
        });
        var page = Guests.Nothing("page") + ".html";
        Published.Run("trace", guest, "--engine", "soft", "--format", "html", "--output", page, "--console", "none").ExitCode.Should().Be(0);
        var profile = Guests.Nothing("profile");
        var ended = Published.Shell($"timeout 50 {browser} --headless --no-sandbox --disable-gpu --user-data-dir={profile} --dump-dom file://{page} 2>/dev/null");
        ended.Output.Should().Contain("6 of 6 exits").And.Contain("wrote 0x3c '&lt;' to port 0x3f8 (COM1_DATA)").And.Contain("'\\x1b'").And.Contain("class=\"chosen\"").And.Contain("<h2>Registers</h2>");
        System.Text.RegularExpressions.Regex.Matches(ended.Output, "<tr[ >]").Should().HaveCount(7, "a head and a row for each exit");
    }

    [SkippableFact]
    public void A_reader_that_goes_away_ends_the_run()
    {
        Published.Require();
        var ended = Published.Shell($"\"$KVMSHARP\" trace '{Guests.Flood}' --engine soft | head -n 1; echo ${{PIPESTATUS[0]}}");
        ended.Output.Should().StartWith("#1 ").And.EndWith("\n141\n");
    }

    private static void Require(string engine)
    {
        if (engine == "kvm")
            Published.RequireKvm();
        else
            Published.Require();
    }
}
