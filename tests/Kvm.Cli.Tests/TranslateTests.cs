using System.Text;

namespace Kvm.Cli.Tests;

public class TranslateTests
{
    private const string Table = """
        {"format": "kvmsharp-translations", "version": 1, "name": "web\u001b[31m", "blocks": [
          {"vcpu": 0, "rip": "0xffffffff81000000", "physical": "0x1000000", "executions": 42, "hostBytes": 99, "prologue": [{"bytes": "90", "text": "nop"}],
           "instructions": [
             {"rip": "0xffffffff81000000", "bytes": "4801d0", "text": "add rax,rdx", "ops": ["add.64 reg-reg"], "host": [{"bytes": "4c01fe", "text": "add rsi,r15"}]},
             {"rip": "0xffffffff81000003", "bytes": "c3", "text": "ret\u001b[2J", "ops": ["ret"], "host": []}]},
          {"vcpu": 1, "rip": "0x1000", "executions": 7, "instructions": "none"},
          17
        ]}
        """;

    private static string File(string text) => Guests.Bytes("translations.json", Encoding.UTF8.GetBytes(text));

    [SkippableFact]
    public void A_table_is_shown_with_control_characters_escaped()
    {
        Published.Require();
        var ended = Published.Run("translate", "show", File(Table));
        ended.ExitCode.Should().Be(0, ended.Error);
        ended.Output.Should().Contain("block 0xffffffff81000000 (physical 0x1000000), vcpu 0: executed 42 times, 99 bytes of host code")
            .And.MatchRegex("add rax,rdx +add.64 reg-reg +4c01fe +add rsi,r15").And.Contain("ret\\x1b[2J").And.NotContain("\x1b")
            .And.Contain("block 0x1000 (physical ?), vcpu 1");
    }

    [SkippableTheory]
    [InlineData("ffffffff81000002", 0)]
    [InlineData("0xffffffff81000003", 0)]
    [InlineData("ffffffff81000004", 3)]
    [InlineData("80", 3)]
    [InlineData("tomorrow", 2)]
    public void An_address_chooses_the_blocks_that_hold_it(string rip, int exitCode)
    {
        Published.Require();
        var ended = Published.Run("translate", "show", File(Table), rip, "--json");
        ended.ExitCode.Should().Be(exitCode, ended.Error);
        if (exitCode == 0)
            ended.Json.GetProperty("blocks").EnumerateArray().Single().GetProperty("executions").GetInt32().Should().Be(42);
    }

    [SkippableTheory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("{\"format\": \"other\"}")]
    [InlineData("[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]")]
    public void What_is_no_table_is_3(string text)
    {
        Published.Require();
        Published.Run("translate", "show", File(text)).ShouldFail(3, "KVM0026", "translations.json");
    }

    [SkippableFact]
    public void Wrong_usage_is_2()
    {
        Published.Require();
        Published.Run("translate").ShouldFail(2, "KVM0002");
        Published.Run("translate", "show").ShouldFail(2, "KVM0002");
        Published.Run("translate", "hide", "x").ShouldFail(2, "KVM0001", "hide");
        Published.Run("run", Guests.Six, "--engine", "soft", "--no-translate", "--translations", "t").ShouldFail(2, "KVM0005");
        Published.Run("translate", "show", "/no/such/file").ShouldFail(3, "KVM0026");
    }

    [SkippableFact]
    public void A_run_writes_the_file_also_where_nothing_was_worth_translating()
    {
        Published.Require();
        var file = File("");
        Published.Run("run", Guests.Six, "--engine", "soft", "--translations", file).ExitCode.Should().Be(0);
        Published.Run("translate", "show", file).Output.Should().Contain("nothing was translated");
        Published.Run("translate", "show", file, "--json").Json.GetProperty("blocks").GetArrayLength().Should().Be(0);
    }
}
