using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Kvm.Cli.Tests;

/// <summary>What a run of the program left: exit code and what it printed.</summary>
internal sealed record Ended(int ExitCode, string Output, string Error, TimeSpan Time)
{
    /// <summary>The lines of standard error.</summary>
    public string[] ErrorLines => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Standard output as the one JSON document it should be.</summary>
    public JsonElement Json => JsonDocument.Parse(Output).RootElement;

    /// <summary>An error as people should see it: three lines, an id, no stack trace.</summary>
    public Ended ShouldFail(int exitCode, string id, params string[] parts)
    {
        ExitCode.Should().Be(exitCode, Error);
        ErrorLines.Length.Should().BeInRange(2, 3, Error);
        ErrorLines[0].Should().StartWith($"error {id}: ");
        Error.Should().NotContain("   at ").And.NotContain("Exception");
        foreach (var part in parts)
            Error.Should().Contain(part);
        return this;
    }
}

/// <summary>The published executable, run as a process.</summary>
internal static partial class Published
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(60);

    /// <summary>One runtime folder for all tests: the probe of the host is made once.</summary>
    private static readonly string s_runtime = Directory.CreateTempSubdirectory("kvmsharp-tests-").FullName;

    static Published() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(s_runtime, recursive: true);

    public static string Executable { get; } = System.IO.Path.Combine(Root(), "artifacts", "kvmsharp", "kvmsharp");

    /// <summary>Skips the calling test where the program was not published.</summary>
    public static void Require() => Skip.IfNot(File.Exists(Executable), "the program was not published: scripts/build");

    /// <summary>Skips the calling test where the program was not published or there is no usable /dev/kvm.</summary>
    public static void RequireKvm()
    {
        Require();
        string? why = null;
        try
        {
            using var _ = File.OpenHandle("/dev/kvm", FileMode.Open, FileAccess.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            why = e.Message;
        }

        Skip.If(why is not null, $"needs /dev/kvm: {why}");
    }

    /// <summary>Skips the calling test unless it runs as root, which hiding devices and changing users need.</summary>
    public static void RequireRoot() => Skip.IfNot(Environment.IsPrivilegedProcess, "needs root");

    /// <summary>Runs the program to its end with nothing on standard input.</summary>
    public static Ended Run(params string[] arguments) => RunWith("", arguments);

    /// <summary>Runs the program to its end with a text on standard input.</summary>
    public static Ended RunWith(string input, params string[] arguments) => Finish(Start(Executable, arguments), input);

    /// <summary>Runs a shell command that finds the program in <c>$KVMSHARP</c>.</summary>
    public static Ended Shell(string command) => Finish(Start("/bin/bash", ["-c", command]), "");

    /// <summary>Starts the program.</summary>
    public static Process Start(params string[] arguments) => Start(Executable, arguments);

    /// <summary>Starts the program on a terminal of its own, as its session's foreground: what a terminal emulator does.</summary>
    public static Process StartOn(PseudoTerminal terminal, params string[] arguments) => Start("/bin/sh",
        ["-c", $"exec setsid -c \"$KVMSHARP\" \"$@\" <{terminal.Path} >{terminal.Path} 2>&1", "sh", .. arguments]);

    /// <summary>Waits for the end of a started program.</summary>
    public static Ended Finish(Process process, string? input = null)
    {
        using (process)
        {
            var time = Stopwatch.StartNew();
            var output = process.StandardOutput.ReadToEndAsync();
            var error = process.StandardError.ReadToEndAsync();
            try
            {
                if (input is not null)
                {
                    process.StandardInput.Write(input);
                    process.StandardInput.Close();
                }
            }
            catch (IOException)
            {
                // It ended without reading.
            }

            if (!process.WaitForExit(s_limit))
            {
                process.Kill(entireProcessTree: true);
                throw new TimeoutException($"the program did not end within {s_limit}; it printed: {output.Result}{error.Result}");
            }

            return new Ended(process.ExitCode, output.Result, error.Result, time.Elapsed);
        }
    }

    /// <summary>Sends a signal.</summary>
    public static void Signal(Process process, int signal) => kill(process.Id, signal).Should().Be(0);

    private static Process Start(string file, string[] arguments)
    {
        var start = new ProcessStartInfo(file, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
        };
        start.Environment["KVMSHARP"] = Executable;
        start.Environment["KVMSHARP_RUNTIME"] = s_runtime;
        start.Environment["KVMSHARP_STATE"] = s_runtime;
        start.Environment["KVMSHARP_CACHE"] = s_runtime;
        return Process.Start(start)!;
    }

    /// <summary>The checkout: the folder above that holds the solution.</summary>
    public static string Root([CallerFilePath] string thisFile = "")
    {
        foreach (var start in new[] { AppContext.BaseDirectory, System.IO.Path.GetDirectoryName(thisFile)! })
        {
            for (var folder = new DirectoryInfo(start); folder is not null; folder = folder.Parent)
            {
                if (File.Exists(System.IO.Path.Combine(folder.FullName, "Kvm.sln")))
                    return folder.FullName;
            }
        }

        throw new InvalidOperationException("Kvm.sln is in no folder above the tests");
    }

    [LibraryImport("libc")]
    private static partial int kill(int process, int signal);
}
