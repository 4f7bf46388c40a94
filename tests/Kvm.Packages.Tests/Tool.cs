using System.Collections.Concurrent;
using System.Diagnostics;

namespace Kvm.Packages.Tests;

/// <summary>Programs of the host, in a folder, with nothing inherited of the build that runs these tests.</summary>
internal static class Tool
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(9);

    /// <summary>Runs a program, which must end well.</summary>
    /// <returns>What it wrote to standard output.</returns>
    public static string Run(string folder, string program, string[] arguments, params (string Name, string Value)[] environment)
    {
        var (code, output, errors) = Start(folder, program, arguments, environment);
        code.Should().Be(0, $"{program} {string.Join(' ', arguments)} says: {output}{errors}");
        return output;
    }

    private static (int Code, string Output, string Errors) Start(string folder, string program, string[] arguments, (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string name in start.Environment.Keys.Where(n => n.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase) || n.StartsWith("VSTEST", StringComparison.Ordinal)).ToList())
            start.Environment.Remove(name);
        start.Environment["MSBUILDDISABLENODEREUSE"] = "1";
        start.Environment["DOTNET_NOLOGO"] = "1";
        start.Environment["DOTNET_CLI_TELEMETRY_OPTOUT"] = "1";
        start.Environment["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "1";
        foreach (var (name, value) in environment)
            start.Environment[name] = value;
        var lines = (Output: new ConcurrentQueue<string>(), Errors: new ConcurrentQueue<string>());
        using var process = new Process { StartInfo = start };
        process.OutputDataReceived += (_, line) => lines.Output.Enqueue(line.Data + "\n");
        process.ErrorDataReceived += (_, line) => lines.Errors.Enqueue(line.Data + "\n");
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        if (!process.WaitForExit(s_limit))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"{program} {string.Join(' ', arguments)} is not done after {s_limit}: {string.Concat(lines.Output)}{string.Concat(lines.Errors)}");
        }

        // What it wrote last may be read after its end.
        process.WaitForExit();
        return (process.ExitCode, string.Concat(lines.Output), string.Concat(lines.Errors));
    }
}
