using System.Text;
using FsCheck;
using FsCheck.Fluent;
using Kvm.Vmm.Host;

namespace Kvm.Vmm.Tests.Host;

public class TerminalKeysTests
{
    private static (string Guest, string Commands) Feed(params string[] pieces)
    {
        var keys = new TerminalKeys();
        var guest = new StringBuilder();
        var commands = new StringBuilder();
        foreach (var piece in pieces)
        {
            var typed = Encoding.Latin1.GetBytes(piece);
            var passed = new byte[TerminalKeys.MostPassedOn(typed.Length)];
            var count = keys.Feed(typed, passed, c => commands.Append(c == TerminalCommand.Quit ? 'Q' : 'H'));
            guest.Append(Encoding.Latin1.GetString(passed, 0, count));
        }

        return (guest.ToString(), commands.ToString());
    }

    [Theory]
    [InlineData("ls -l\r", "ls -l\r", "")]
    [InlineData("\x01x", "", "Q")]
    [InlineData("\x01h", "", "H")]
    [InlineData("\x01\x01", "\x01", "")]
    [InlineData("\x01\x01x", "\x01x", "")]
    [InlineData("\x01\x03", "\x01\x03", "")]
    [InlineData("\x01X", "\x01X", "")]
    [InlineData("a\x01hb\x01xc", "abc", "HQ")]
    [InlineData("\x03\x1a\x1c\x04", "\x03\x1a\x1c\x04", "")]
    [InlineData("\x01", "", "")]
    public void Keys_of_ours_are_obeyed_and_all_others_belong_to_the_guest(string typed, string guest, string commands) =>
        Feed(typed).Should().Be((guest, commands));

    [Fact]
    public void Keys_that_arrive_one_by_one_mean_the_same()
    {
        var typed = Gen.Elements('\x01', 'x', 'h', 'a').ArrayOf().Select(c => new string(c)).ToArbitrary();
        Check.QuickThrowOnFailure(Prop.ForAll(typed, text => Feed(text) == Feed([.. text.Select(c => c.ToString())])));
    }
}
