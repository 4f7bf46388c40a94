using System.Net.Sockets;

namespace Kvm.Cli.Tests;

/// <summary>The sockets of ports: there while the guest runs, and never in anybody's way.</summary>
public sealed class PortTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("kvmsharp ports ").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string SocketPath => Path.Combine(_folder, "a,b");

    private string Option => $"name=a,socket={SocketPath.Replace(",", ",,", StringComparison.Ordinal)}";

    [SkippableTheory]
    [InlineData(2)]
    [InlineData(15)]
    public void Socket_is_there_while_the_guest_runs_and_gone_when_a_signal_ended_it(int signal)
    {
        Published.Require();
        var process = Published.Start("run", "--engine", "soft", "--port", Option, Guests.Loop);
        using (var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // The guest need not be up, nor know of its port.
            SpinWait.SpinUntil(() => File.Exists(SocketPath) && Record.Exception(() => client.Connect(new UnixDomainSocketEndPoint(SocketPath))) is null, TimeSpan.FromSeconds(30))
                .Should().BeTrue();
            File.GetUnixFileMode(SocketPath).Should().Be(UnixFileMode.UserRead | UnixFileMode.UserWrite);
            Published.Signal(process, signal);
            Published.Finish(process).ExitCode.Should().Be(128 + signal);
            // It hung up, or ended before it had taken the client.
            int received = -1;
            var failure = Record.Exception(() => received = client.Receive(new byte[1]));
            (received == 0 || failure is SocketException { SocketErrorCode: SocketError.ConnectionReset }).Should().BeTrue($"{received} {failure}");
        }

        Directory.GetFiles(_folder).Should().BeEmpty();
    }

    [SkippableFact]
    public void Socket_of_a_killed_program_is_taken_over_and_anything_else_is_left_alone()
    {
        Published.Require();
        var killed = Published.Start("run", "--engine", "soft", "--port", Option, Guests.Loop);
        SpinWait.SpinUntil(() => File.Exists(SocketPath), TimeSpan.FromSeconds(30)).Should().BeTrue();
        Published.Run("run", "--engine", "soft", "--port", Option, Guests.Six).ShouldFail(3, "KVM0170", "port 'a'");
        Published.Signal(killed, 9);
        Published.Finish(killed);
        File.Exists(SocketPath).Should().BeTrue("nobody removed it");
        Published.Run("run", "--engine", "soft", "--port", Option, Guests.Six).ExitCode.Should().Be(0);
        File.Exists(SocketPath).Should().BeFalse();

        File.WriteAllText(SocketPath, "precious");
        Published.Run("run", "--engine", "soft", "--port", Option, Guests.Six).ShouldFail(3, "KVM0170", "port 'a'");
        File.ReadAllText(SocketPath).Should().Be("precious");
        Published.Run("run", "--engine", "soft", "--port", $"name=a,socket={_folder}/none/s", Guests.Six).ShouldFail(3, "KVM0171", "No such file or directory");
    }
}
