using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Kvm.Cli.Text;

/// <summary>What <c>--version</c> tells.</summary>
internal static class ProductVersion
{
    /// <summary>The version of the program, without the build's commit.</summary>
    public static string Number =>
        typeof(ProductVersion).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0.0.0";

    /// <summary>The .NET runtime that runs the program, such as <c>.NET 9.0.3</c>.</summary>
    public static string Runtime => RuntimeInformation.FrameworkDescription;

    /// <summary>True if the program was compiled ahead of time.</summary>
    public static bool IsAheadOfTime => !RuntimeFeature.IsDynamicCodeSupported;

    /// <summary>One line with all of it.</summary>
    public static string Line =>
        $"kvmsharp {Number} ({Runtime}, {(IsAheadOfTime ? "compiled ahead of time" : "just-in-time compiled")}, {RuntimeInformation.RuntimeIdentifier})";
}
