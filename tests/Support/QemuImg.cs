using System.Diagnostics;

namespace Kvm.Tests.Support;

/// <summary>QEMU's own tools, as judges: <c>qemu-img</c> and <c>qemu-io</c> of the package qemu-utils.</summary>
internal static class QemuImg
{
    public static bool IsHere { get; } = Find("qemu-img") && Find("qemu-io");

    public static void SkipIfMissing() => Skip.IfNot(IsHere, "qemu-img is missing (package qemu-utils)");

    /// <summary>Runs <c>qemu-img</c>, which must end well.</summary>
    public static string Run(params string[] arguments)
    {
        var (code, text) = Start("qemu-img", arguments);
        code.Should().Be(0, $"qemu-img {string.Join(' ', arguments)} says: {text}");
        return text;
    }

    /// <summary>Runs commands of <c>qemu-io</c> on an image.</summary>
    public static void Io(string path, params IEnumerable<string> commands)
    {
        var (code, text) = Start("qemu-io", ["-f", "qcow2", .. commands.SelectMany(c => new[] { "-c", c }), path]);
        code.Should().Be(0, text);
    }

    /// <summary>Runs a command of <c>qemu-io</c>, flushes, and ends without closing the image.</summary>
    public static void AbortIo(string path, string command) => Start("qemu-io", ["-f", "qcow2", "-c", command, "-c", "flush", "-c", "abort", path]);

    /// <summary>What <c>qemu-img check</c> thinks of an image: 0 clean, 2 corrupt, 3 leaks.</summary>
    public static (int Code, string Text) Check(string path) => Start("qemu-img", ["check", "-f", "qcow2", path]);

    private static (int Code, string Text) Start(string program, IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in arguments)
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, text + errors.Result);
    }

    private static bool Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(folder => File.Exists(Path.Combine(folder, program)));
}
